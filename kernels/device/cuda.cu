// The work of backend cuda between cuBLAS's products: bias and activation, and the deltas
// with their sums.  A block of 32 x 8 threads works on 32 columns of a chunk of rows.

#include "common.cuh"

constexpr int COLUMNS = 32;
constexpr int LINES = 8;
constexpr int DEEP = 4;  // rows that a thread reads before it writes, so that loads overlap

// This block's columns and rows.  Consecutive blocks have consecutive columns of a chunk.
struct Chunk {
    int tile, column, line;
    long long number, begin, end;

    __device__ Chunk(long long count, int width, int rows) {
        int tiles = (width + COLUMNS - 1) / COLUMNS;
        tile = blockIdx.x % tiles;
        column = tile * COLUMNS + threadIdx.x % COLUMNS;
        line = threadIdx.x / COLUMNS;
        number = blockIdx.x / tiles;
        begin = number * rows;
        end = begin + rows < count ? begin + rows : count;
    }
};

// z (B, O) = f(z + biases (O,)), in place: eq. (4)'s bias, then eq. (5).  A chunk has `rows`.
extern "C" __global__ void __launch_bounds__(COLUMNS * LINES) add_bias_and_activate(
    real* z, const real* biases, long long count, int width, int rows, int function) {
    Chunk chunk(count, width, rows);
    if (chunk.column >= width) {
        return;
    }
    real bias = biases[chunk.column];
    for (long long i = chunk.begin + chunk.line; i < chunk.end; i += LINES * DEEP) {
        real part[DEEP];
#pragma unroll
        for (int n = 0; n < DEEP; ++n) {
            long long row = i + n * LINES;
            part[n] = row < chunk.end ? z[row * width + chunk.column] : real(0);
        }
#pragma unroll
        for (int n = 0; n < DEEP; ++n) {
            long long row = i + n * LINES;
            if (row < chunk.end) {
                z[row * width + chunk.column] = activate(function, part[n] + bias);
            }
        }
    }
}

// Multiply this thread's column of `delta` by f'(z) at `a` in place, unless the slope is
// LINEAR.  Return the column's sum over the thread's rows.
__device__ inline real apply_slope(
    const real* a, real* delta, const Chunk& chunk, int width, int slope_code) {
    real sum = 0;
    for (long long i = chunk.begin + chunk.line; i < chunk.end; i += LINES * DEEP) {
        real part[DEEP];
#pragma unroll
        for (int n = 0; n < DEEP; ++n) {
            long long row = i + n * LINES, k = row * width + chunk.column;
            bool inside = row < chunk.end;
            part[n] = inside ? delta[k] : real(0);
            if (inside && slope_code != LINEAR) {
                part[n] *= slope(slope_code, a[k]);
            }
        }
#pragma unroll
        for (int n = 0; n < DEEP; ++n) {
            long long row = i + n * LINES;
            if (row < chunk.end && slope_code != LINEAR) {
                delta[row * width + chunk.column] = part[n];
            }
            sum += part[n];
        }
    }
    return sum;
}

// Return the sum of the lines' values to the threads of line 0.  All threads of the block must
// call this, with a barrier between two calls.
__device__ inline real sum_of_lines(real value) {
    __shared__ shared<real> values[COLUMNS * LINES];
    values[threadIdx.x] = value;
    __syncthreads();
    if (threadIdx.x < COLUMNS) {
        for (int line = 1; line < LINES; ++line) {
            value += values[line * COLUMNS + threadIdx.x];
        }
    }
    return value;
}

// Return whether this block is the last of its tile of columns to get here, by its ticket.
// The last block can read what all blocks of the tile have written before.
__device__ inline bool is_last(unsigned* ticket, long long chunks) {
    __shared__ shared<int> last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(ticket, 1u) == chunks - 1;
        __threadfence();
    }
    __syncthreads();
    return last;
}

// Multiply `delta` (B, O) by f'(z) at a (B, O) in place, and sum it over the rows into
// dbias (O,): with `add` the sum is added to dbias, else it replaces dbias.
//
// Each block writes the sums of its chunk to `partial` (chunks, O).  `tickets` (tiles,) count
// the blocks of each tile of columns that are done.  The last one adds up the sums in a fixed
// order, so that the bits do not depend on which block is last.
extern "C" __global__ void __launch_bounds__(COLUMNS * LINES) delta_and_bias_gradient(
    const real* a, real* delta, long long count, int width, int rows, int slope_code,
    real* partial, unsigned* tickets, real* dbias, int add) {
    Chunk chunk(count, width, rows);
    bool inside = chunk.column < width;
    real sum = sum_of_lines(inside ? apply_slope(a, delta, chunk, width, slope_code) : real(0));
    if (chunk.line == 0 && inside) {
        partial[chunk.number * width + chunk.column] = sum;
    }
    long long chunks = (count + rows - 1) / rows;
    if (!is_last(&tickets[chunk.tile], chunks)) {
        return;
    }
    const volatile real* sums = partial + chunk.column;
    real total = 0;
    for (long long i = chunk.line; inside && i < chunks; i += LINES) {
        total += sums[i * width];
    }
    total = sum_of_lines(total);
    if (chunk.line == 0 && inside) {
        dbias[chunk.column] = add ? dbias[chunk.column] + total : total;
    }
    if (threadIdx.x == 0) {
        tickets[chunk.tile] = 0;  // for the next launch
    }
}

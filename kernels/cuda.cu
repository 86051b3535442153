// What backend cuda does around cuBLAS's products: bias and activation, and the deltas
// with their sums.  A block of 32 x 8 threads works on 32 columns.

#include "common.cuh"

constexpr int COLUMNS = 32;
constexpr int LINES = 8;
constexpr int CHUNK = 256;  // rows of a block

// This block's columns and rows: blocks go through the columns of a chunk first.
struct Chunk {
    int tile, column;
    long long number, begin, end;

    __device__ Chunk(long long count, int width) {
        int tiles = (width + COLUMNS - 1) / COLUMNS;
        tile = blockIdx.x % tiles;
        column = tile * COLUMNS + threadIdx.x % COLUMNS;
        number = blockIdx.x / tiles;
        begin = number * CHUNK;
        end = begin + CHUNK < count ? begin + CHUNK : count;
    }
};

// z (B, O) = f(z + biases (O,)), in place: eq. (4)'s bias, then eq. (5).
extern "C" __global__ void __launch_bounds__(COLUMNS * LINES) add_bias_and_activate(
    real* z, const real* biases, long long count, int width, int function) {
    Chunk chunk(count, width);
    if (chunk.column >= width) {
        return;
    }
    real bias = biases[chunk.column];
#pragma unroll 4
    for (long long i = chunk.begin + threadIdx.x / COLUMNS; i < chunk.end; i += LINES) {
        long long k = i * width + chunk.column;
        z[k] = activate(function, z[k] + bias);
    }
}

// Multiply `delta` (B, O) by f'(z) at a (B, O) in place, unless the slope is LINEAR's, and
// sum it over the rows into dbias (O,): added to what is there, or replacing it.
//
// Each block writes the sums of its chunk to `partial` (chunks, O); the block that comes
// last to a tile of columns, as `tickets` (tiles,) tell, adds them up in the order of
// the chunks, so that the same bits come out whichever is last.
extern "C" __global__ void __launch_bounds__(COLUMNS * LINES) delta_and_bias_gradient(
    const real* a, real* delta, long long count, int width, int slope_code, real* partial,
    unsigned* tickets, real* dbias, int add) {
    __shared__ shared<real> sums[COLUMNS * LINES];
    __shared__ shared<int> last;
    Chunk chunk(count, width);
    long long chunks = (count + CHUNK - 1) / CHUNK;
    int line = threadIdx.x / COLUMNS;
    bool sums_up = line == 0 && chunk.column < width;
    real sum = 0;
    if (chunk.column < width) {
#pragma unroll 4
        for (long long i = chunk.begin + line; i < chunk.end; i += LINES) {
            long long k = i * width + chunk.column;
            real value = delta[k];
            if (slope_code != LINEAR) {
                value *= slope(slope_code, a[k]);
                delta[k] = value;
            }
            sum += value;
        }
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (sums_up) {
        for (int i = 1; i < LINES; ++i) {
            sum += sums[i * COLUMNS + threadIdx.x];
        }
        partial[chunk.number * width + chunk.column] = sum;
        __threadfence();  // before the ticket, which says that it is there
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(&tickets[chunk.tile], 1u) == chunks - 1;
        __threadfence();  // before others' sums are read
    }
    __syncthreads();
    if (!last) {
        return;
    }
    if (sums_up) {
        const volatile real* there = partial + chunk.column;
        real total = add ? dbias[chunk.column] : real(0);
        for (long long i = 0; i < chunks; ++i) {
            total += there[i * width];
        }
        dbias[chunk.column] = total;
    }
    if (threadIdx.x == 0) {
        tickets[chunk.tile] = 0;  // for the next launch
    }
}

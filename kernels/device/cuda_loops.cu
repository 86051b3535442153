// The products of backend cuda-loops: forward, hidden delta and weight gradient, each one
// kernel with the elementwise work in it.
//
// A block of 16 x 16 threads computes a tile of 16 MICRO x 16 MICRO outputs.  Each thread
// computes MICRO x MICRO of them, 16 apart, in registers.  Tiles of the operands, DEPTH deep,
// are copied to shared memory.  Beyond the edges of a matrix they are 0, so any width works.
// A warp writes a tile either along its rows or across them, DEPTH words each.  Rows are padded
// so that its 32 words are in 32 banks in both cases (8-byte words are written by half warps).

#include "common.cuh"

constexpr int SIDE = 16;
constexpr int THREADS = SIDE * SIDE;
constexpr int TILE = SIDE * MICRO;
constexpr int DEPTH = 64 / MICRO;
constexpr int PART = TILE * DEPTH / THREADS;  // elements of a tile that a thread copies
constexpr int WORDS = 128 / (int)sizeof(real);  // of a row of banks
constexpr int ROW = TILE + (WORDS > DEPTH ? WORDS / DEPTH : 1);

// A matrix of `lines` x `depth`; products sum over the depth.  Element (m, k) is
// data[m * stride + k] if rows are stored ALONG the depth, else data[k * stride + m].
template <bool ALONG>
struct Operand {
    const real* data;
    long long stride, lines, depth;

    __device__ static int line_of(int e) { return ALONG ? e / DEPTH : e % TILE; }
    __device__ static int depth_of(int e) { return ALONG ? e % DEPTH : e / TILE; }

    // Read this thread's elements of the tile at (line, level) into registers.
    __device__ void fetch(long long line, long long level, real* part) const {
        for (int n = 0; n < PART; ++n) {
            int e = threadIdx.x + n * THREADS;
            long long m = line + line_of(e), k = level + depth_of(e);
            bool inside = m < lines && k < depth;
            part[n] = inside ? data[ALONG ? m * stride + k : k * stride + m] : real(0);
        }
    }

    __device__ static void put(const real* part, shared<real>* tile) {
        for (int n = 0; n < PART; ++n) {
            int e = threadIdx.x + n * THREADS;
            tile[depth_of(e) * ROW + line_of(e)] = part[n];
        }
    }
};

// A thread's part of a tile: sums (m, n) and, for the gradient of biases, sums of b's lines.
struct Sums {
    real product[MICRO][MICRO];
    real line[MICRO];
};

// The first output of this block's tile, and this thread's first output in the tile.
struct Place {
    long long row, column;  // of the tile
    int y, x;               // of the thread

    __device__ explicit Place(long long columns) {
        long long across = (columns + TILE - 1) / TILE;
        row = blockIdx.x / across * TILE;
        column = blockIdx.x % across * TILE;
        y = threadIdx.x / SIDE;
        x = threadIdx.x % SIDE;
    }
    __device__ long long row_of(int i) const { return row + y + i * SIDE; }
    __device__ long long column_of(int j) const { return column + x + j * SIDE; }
};

__device__ inline void multiply_tiles(
    const shared<real>* a, const shared<real>* b, const Place& place, Sums& sums) {
#pragma unroll
    for (int k = 0; k < DEPTH; ++k) {
        real left[MICRO], right[MICRO];
        for (int i = 0; i < MICRO; ++i) {
            left[i] = a[k * ROW + place.y + i * SIDE];
            right[i] = b[k * ROW + place.x + i * SIDE];
        }
        for (int i = 0; i < MICRO; ++i) {
            for (int j = 0; j < MICRO; ++j) {
                sums.product[i][j] += left[i] * right[j];
            }
        }
    }
}

__device__ inline void add_lines(const shared<real>* b, const Place& place, Sums& sums) {
#pragma unroll 1
    for (int k = 0; k < DEPTH; ++k) {
#pragma unroll
        for (int j = 0; j < MICRO; ++j) {
            sums.line[j] += b[k * ROW + place.x + j * SIDE];
        }
    }
}

// Return this thread's part of a tile of a times b: sums over the depth of a(m, k) b(n, k).
template <bool A, bool B>
__device__ Sums multiply(
    const Operand<A>& a, const Operand<B>& b, const Place& place, bool lines) {
    __shared__ shared<real> left[DEPTH * ROW], right[DEPTH * ROW];
    Sums sums = {};
    real next_left[PART], next_right[PART];
    a.fetch(place.row, 0, next_left);
    b.fetch(place.column, 0, next_right);
    for (long long level = 0; level < a.depth; level += DEPTH) {
        a.put(next_left, left);
        b.put(next_right, right);
        __syncthreads();
        // The next tiles are loaded while these are multiplied.
        a.fetch(place.row, level + DEPTH, next_left);
        b.fetch(place.column, level + DEPTH, next_right);
        multiply_tiles(left, right, place, sums);
        if (lines) {
            add_lines(right, place, sums);
        }
        __syncthreads();
    }
    return sums;
}

// Algorithm 3: z (B, O) = f(a (B, I) weights (I, O) + biases (O,)), eqs. (4) and (5).
extern "C" __global__ void __launch_bounds__(THREADS, 1) forward(
    const real* a, const real* weights, const real* biases, real* z, long long count,
    int fan_in, int fan_out, int function) {
    Place place(fan_out);
    Operand<true> left = {a, fan_in, count, fan_in};
    Operand<false> right = {weights, fan_out, fan_out, fan_in};
    Sums sums = multiply(left, right, place, false);
#pragma unroll
    for (int i = 0; i < MICRO; ++i) {
#pragma unroll
        for (int j = 0; j < MICRO; ++j) {
            long long row = place.row_of(i), column = place.column_of(j);
            if (row < count && column < fan_out) {
                real value = sums.product[i][j] + biases[column];
                z[row * fan_out + column] = activate(function, value);
            }
        }
    }
}

// Algorithm 4: back (B, I) = delta (B, O) weights^T (O, I) times f'(z) at a (B, I).
extern "C" __global__ void __launch_bounds__(THREADS, 1) hidden_delta(
    const real* delta, const real* weights, const real* a, real* back, long long count,
    int fan_in, int fan_out, int slope_code) {
    Place place(fan_in);
    Operand<true> left = {delta, fan_out, count, fan_out};
    Operand<true> right = {weights, fan_out, fan_in, fan_out};
    Sums sums = multiply(left, right, place, false);
#pragma unroll
    for (int i = 0; i < MICRO; ++i) {
#pragma unroll
        for (int j = 0; j < MICRO; ++j) {
            long long row = place.row_of(i), column = place.column_of(j);
            if (row < count && column < fan_in) {
                long long k = row * fan_in + column;
                back[k] = sums.product[i][j] * slope(slope_code, a[k]);
            }
        }
    }
}

// Algorithm 4, summed over the rows: dweight (I, O) = a^T (I, B) delta (B, O) and
// dbias (O,) = sums of delta.  With `add` the sums are added to both, else they replace them.
extern "C" __global__ void __launch_bounds__(THREADS, 1) weight_gradient(
    const real* a, const real* delta, real* dweight, real* dbias, long long count,
    int fan_in, int fan_out, int add) {
    Place place(fan_out);
    Operand<false> left = {a, fan_in, fan_in, count};
    Operand<false> right = {delta, fan_out, fan_out, count};
    bool lines = place.row == 0 && place.y == 0;
    Sums sums = multiply(left, right, place, lines);
#pragma unroll
    for (int j = 0; j < MICRO; ++j) {
        long long column = place.column_of(j);
        if (column >= fan_out) {
            continue;
        }
#pragma unroll
        for (int i = 0; i < MICRO; ++i) {
            long long k = place.row_of(i) * fan_out + column;
            if (place.row_of(i) < fan_in) {
                dweight[k] = add ? dweight[k] + sums.product[i][j] : sums.product[i][j];
            }
        }
        if (lines) {
            dbias[column] = add ? dbias[column] + sums.line[j] : sums.line[j];
        }
    }
}

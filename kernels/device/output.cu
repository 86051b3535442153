// The output layer's loss, predictions and delta.  One warp works on one row.

#include "common.cuh"

constexpr int LANES = 32;
constexpr int ROWS_A_BLOCK = 8;
constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr int NOWHERE = 0x7fffffff;  // column of a lane without a value

template <typename T>
__device__ inline T sum_of_lanes(T value) {
    for (int distance = LANES / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}

// Replace value and column by the largest value of the lanes and the first column that has it.
__device__ inline void largest_of_lanes(real& value, int& column) {
    for (int distance = LANES / 2; distance > 0; distance /= 2) {
        real other = __shfl_xor_sync(ALL_LANES, value, distance);
        int other_column = __shfl_xor_sync(ALL_LANES, column, distance);
        bool tie = other == value && other_column < column;
        if (other_column != NOWHERE && (column == NOWHERE || other > value || tie)) {
            value = other;
            column = other_column;
        }
    }
}

__device__ inline void largest_of_row(
    const real* row, int width, int lane, real& value, int& column) {
    value = 0;
    column = NOWHERE;
    for (int j = lane; j < width; j += LANES) {
        if (column == NOWHERE || row[j] > value) {
            value = row[j];
            column = j;
        }
    }
    largest_of_lanes(value, column);
}

__device__ inline void softmax(real* row, int width, int lane) {
    real largest, total = 0;
    int column;
    largest_of_row(row, width, lane, largest, column);
    for (int j = lane; j < width; j += LANES) {
        row[j] = exp(row[j] - largest);
        total += row[j];
    }
    total = sum_of_lanes(total);
    for (int j = lane; j < width; j += LANES) {
        row[j] /= total;
    }
}

// One output's share of the loss in float64: eq. (6), or cross-entropy.  An output that is
// rounded to 1 counts as half a rounding step below 1.
__device__ inline double loss_of(int loss, bool softmaxed, real a, bool hit) {
    const double tiny = 1e-300, step = sizeof(real) == 4 ? 0x1p-25 : 0x1p-54;
    double value = a;
    if (loss == MSE) {
        double error = (hit ? 1.0 : 0.0) - value;
        return error * error;
    }
    if (hit) {
        return -log(value > tiny ? value : tiny);
    }
    if (softmaxed) {
        return 0.0;
    }
    double miss = 1.0 - value;
    return -log(miss > step ? miss : step);
}

// Finish the outputs `a` (B, O): add `biases` if given, then apply `function`.  Add each row's
// loss and hit to `totals` (B, 2), and write the predicted class.  If `delta` (B, O) is given,
// compute algorithm 4's (a - y) f'(z).  If `control` is given, its position advances by
// `advance` rows, and its step by 1 if these rows end a slice.
extern "C" __global__ void __launch_bounds__(LANES * ROWS_A_BLOCK) output_delta(
    real* a, const real* biases, const int* labels, int* predicted, double* totals,
    real* delta, long long count, int width, int function, int slope_code, int loss,
    Control* control, long long advance, int ends) {
    int lane = threadIdx.x % LANES;
    long long i = (long long)blockIdx.x * ROWS_A_BLOCK + threadIdx.x / LANES;
    if (control && blockIdx.x == 0 && threadIdx.x == 0) {
        control->position += advance;
        control->step += ends;
    }
    if (i >= count) {
        return;
    }
    real* row = a + i * width;
    if (biases) {
        for (int j = lane; j < width; j += LANES) {
            row[j] = activate(function, row[j] + biases[j]);
        }
    }
    if (function == SOFTMAX) {
        softmax(row, width, lane);
    }
    double total = 0;
    for (int j = lane; j < width; j += LANES) {
        bool hit = j == labels[i];
        total += loss_of(loss, function == SOFTMAX, row[j], hit);
        if (delta) {
            delta[i * width + j] = (row[j] - real(hit)) * slope(slope_code, row[j]);
        }
    }
    total = sum_of_lanes(total);
    real largest;
    int best;
    largest_of_row(row, width, lane, largest, best);
    if (lane == 0) {
        predicted[i] = best;
        totals[2 * i] += total;
        totals[2 * i + 1] += best == labels[i];
    }
}

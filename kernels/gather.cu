// Rows of the dataset, which stays on the device as it was stored (FEATURE), into the
// inputs of a minibatch.  One block a row.

#include "common.cuh"
#include "permutation.cuh"

typedef FEATURE feature;

// With `control` the rows at its position in the epoch's order, without it rows first, ….
extern "C" __global__ void __launch_bounds__(128) gather(
    const feature* features, const int* labels, long long rows, int width, int bits,
    const Control* control, long long first, real scale, real offset, real* inputs,
    int* targets) {
    __shared__ shared<long long> number;
    long long i = blockIdx.x;
    if (threadIdx.x == 0) {
        long long row = first + i;
        if (control) {
            row = permuted(control->key, control->position + i, rows, bits);
        }
        targets[i] = labels[row];
        number = row;
    }
    __syncthreads();
    const feature* source = features + number * width;
    real* target = inputs + i * width;
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        target[j] = real(source[j]) * scale + offset;
    }
}

// Shared by all CUDA sources.  REAL is float or double, defined when a source is compiled.
// Letters: B rows, I fan_in, O fan_out; every matrix is row-major.

typedef REAL real;

#ifndef SHARED_IS_WATCHED  // the emulation on the CPU defines a type that checks every access
template <typename T>
using shared = T;
#endif

// The codes of network.py.
enum Function { LINEAR, SIGMOID, TANH, RELU, SOFTMAX };
enum Loss { MSE, CROSS_ENTROPY };

// The position of a run, kept on the device, so that one recorded graph can run every step.
struct Control {
    unsigned long long key;        // of the epoch's permutation
    long long position;            // of the first row of the next slice in the epoch
    long long step;                // number of slices that have ended since the run began
    unsigned long long first_bad;  // first step whose gradient held NaN or Inf
};

// Eq. (5).  A comparison with NaN is false: in this form NaN is kept.
__device__ inline real activate(int function, real z) {
    switch (function) {
        case SIGMOID: return real(1) / (real(1) + exp(-z));
        case TANH: return tanh(z);
        case RELU: return z < real(0) ? real(0) : z;
        default: return z;
    }
}

// f'(z) in terms of a = f(z).
__device__ inline real slope(int function, real a) {
    switch (function) {
        case SIGMOID: return a * (real(1) - a);
        case TANH: return real(1) - a * a;
        case RELU: return a > real(0) ? real(1) : a * real(0);
        default: return real(1);
    }
}

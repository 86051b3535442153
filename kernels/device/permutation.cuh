// The keyed permutation of permutation.py, one entry at a time: a Feistel network over
// `bits` bits with cycle walking.  It gives the same integers as on the CPU.

constexpr int FEISTEL_ROUNDS = 6;
constexpr unsigned long long GOLDEN = 0x9E3779B97F4A7C15ull;

__device__ inline unsigned long long mix(unsigned long long x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

__device__ inline unsigned long long feistel(
    unsigned long long value, int bits, unsigned long long key) {
    int left_bits = bits / 2, right_bits = bits - bits / 2;
    unsigned long long left = value >> right_bits;
    unsigned long long right = value & ((1ull << right_bits) - 1);
    for (int round = 0; round < FEISTEL_ROUNDS; ++round) {
        unsigned long long scrambled = mix(right ^ (key + (round + 1) * GOLDEN));
        unsigned long long swapped = left ^ (scrambled & ((1ull << left_bits) - 1));
        left = right;
        right = swapped;
        int width = left_bits;
        left_bits = right_bits;
        right_bits = width;
    }
    return left << right_bits | right;
}

__device__ inline long long permuted(
    unsigned long long key, long long position, long long rows, int bits) {
    unsigned long long value = feistel(position, bits, key);
    while (value >= (unsigned long long)rows) {
        value = feistel(value, bits, key);
    }
    return (long long)value;
}

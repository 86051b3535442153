/* The loops of hpcpgd's backend `loops` (kernels/backends/loops.py) in C: the same functions,
 * the same order of loops, one example at a time.  float32, sigmoid, squared error.
 *
 * `loops` on one thread must be as fast as this, compiled with `cc -O2`: with a slow base, every
 * speedup would look better than it is.  Letters: I fan_in, O fan_out.
 */
#include <math.h>
#include <stdint.h>

/* Columns of the table that describes the layers, one row a layer (kernels/core/network.py). */
enum { WIDTH, WEIGHTS, BIASES, ROWS, FUNCTION, SLOPE, KEPT, COLUMNS };
/* Indices into the totals (kernels/core/elementwise.py). */
enum { LOSS, CORRECT, EXAMPLES };

static int64_t entry(const int64_t *table, int64_t layer, int column)
{
    return table[layer * COLUMNS + column];
}

static float *row_of(const int64_t *table, float *flat, int64_t layer, int64_t row)
{
    return flat + entry(table, layer, ROWS) + row * entry(table, layer, WIDTH);
}

static float *delta_of(const int64_t *table, float *flat, int64_t layer, int64_t row)
{
    return row_of(table, flat, layer, row) - entry(table, 1, ROWS);
}

/* z = W^T x + b, eq. (4): weights (I, O), x (I), z (O). */
static void multiply_transposed(int64_t fan_in, int64_t fan_out, const float *restrict weights,
                                const float *restrict x, const float *restrict biases,
                                float *restrict z)
{
    for (int64_t j = 0; j < fan_out; j++)
        z[j] = biases[j];
    for (int64_t i = 0; i < fan_in; i++)
        for (int64_t j = 0; j < fan_out; j++)
            z[j] += weights[i * fan_out + j] * x[i];
}

/* W delta, algorithm 4: weights (I, O), delta (O), back (I). */
static void multiply(int64_t fan_in, int64_t fan_out, const float *restrict weights,
                     const float *restrict delta, float *restrict back)
{
    for (int64_t i = 0; i < fan_in; i++) {
        float total = 0;
        for (int64_t j = 0; j < fan_out; j++)
            total += weights[i * fan_out + j] * delta[j];
        back[i] = total;
    }
}

/* Add a delta^T, algorithm 4, to dweight (I, O): x (I), delta (O). */
static void add_outer(int64_t fan_in, int64_t fan_out, const float *restrict x,
                      const float *restrict delta, float *restrict dweight)
{
    for (int64_t i = 0; i < fan_in; i++)
        for (int64_t j = 0; j < fan_out; j++)
            dweight[i * fan_out + j] += x[i] * delta[j];
}

/* Sigmoid in place, eq. (3). */
static void activate(int64_t size, float *z)
{
    for (int64_t j = 0; j < size; j++)
        z[j] = 1.0f / (1.0f + expf(-z[j]));
}

/* Multiply by the sigmoid's derivative at activations a. */
static void multiply_by_slope(int64_t size, const float *restrict a, float *restrict delta)
{
    for (int64_t j = 0; j < size; j++)
        delta[j] *= a[j] * (1.0f - a[j]);
}

/* Algorithm 3 for one example. */
static void forward(const int64_t *table, int64_t depth, const float *parameters,
                    float *activations, int64_t row)
{
    for (int64_t l = 1; l <= depth; l++) {
        int64_t fan_in = entry(table, l - 1, WIDTH), fan_out = entry(table, l, WIDTH);
        float *z = row_of(table, activations, l, row);
        multiply_transposed(fan_in, fan_out, parameters + entry(table, l, WEIGHTS),
                            row_of(table, activations, l - 1, row),
                            parameters + entry(table, l, BIASES), z);
        activate(fan_out, z);
    }
}

/* Loss, prediction and correct answers of one example. */
static void score(int64_t classes, const float *a, int32_t label, int32_t *predicted,
                  double *totals)
{
    int32_t best = 0;
    for (int32_t j = 1; j < classes; j++)
        if (a[j] > a[best])
            best = j;
    double loss = 0;
    for (int32_t j = 0; j < classes; j++) {
        double error = (j == label ? 1.0 : 0.0) - a[j];
        loss += error * error;
    }
    *predicted = best;
    totals[LOSS] += loss;
    totals[CORRECT] += best == label;
    totals[EXAMPLES] += 1;
}

/* Algorithm 4 for one example: add its gradient to out. */
static void backward(const int64_t *table, int64_t depth, const float *parameters,
                     float *activations, int32_t label, float *deltas, int64_t row, float *out)
{
    int64_t classes = entry(table, depth, WIDTH);
    const float *a = row_of(table, activations, depth, row);
    float *delta = delta_of(table, deltas, depth, row);
    for (int64_t j = 0; j < classes; j++)
        delta[j] = a[j];
    delta[label] -= 1.0f;
    multiply_by_slope(classes, a, delta);
    for (int64_t l = depth; l > 0; l--) {
        int64_t fan_in = entry(table, l - 1, WIDTH), fan_out = entry(table, l, WIDTH);
        const float *x = row_of(table, activations, l - 1, row);
        float *dbias = out + entry(table, l, BIASES);
        for (int64_t j = 0; j < fan_out; j++)
            dbias[j] += delta[j];
        add_outer(fan_in, fan_out, x, delta, out + entry(table, l, WEIGHTS));
        if (l > 1) {
            float *back = delta_of(table, deltas, l - 1, row);
            multiply(fan_in, fan_out, parameters + entry(table, l, WEIGHTS), delta, back);
            multiply_by_slope(fan_in, x, back);
            delta = back;
        }
    }
}

void evaluate(const int64_t *table, int64_t depth, const float *parameters, float *activations,
              const int32_t *labels, int32_t *predicted, double *totals, int64_t count)
{
    for (int64_t row = 0; row < count; row++) {
        forward(table, depth, parameters, activations, row);
        score(entry(table, depth, WIDTH), row_of(table, activations, depth, row), labels[row],
              predicted + row, totals);
    }
}

void gradient(const int64_t *table, int64_t depth, const float *parameters, float *activations,
              const int32_t *labels, int32_t *predicted, double *totals, float *deltas,
              int64_t count, float *out)
{
    for (int64_t row = 0; row < count; row++) {
        forward(table, depth, parameters, activations, row);
        score(entry(table, depth, WIDTH), row_of(table, activations, depth, row), labels[row],
              predicted + row, totals);
        backward(table, depth, parameters, activations, labels[row], deltas, row, out);
    }
}

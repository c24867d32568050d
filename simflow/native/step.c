/* One token of every row through a causal transformer: the step of a walk, in float32, on a CPU.
 *
 * The same numbers as simflow/nn/step.py, whose every operation is here a loop. Between two operations of a step there
 * is nothing to do but to call the next one, and that is what a step of torch's costs most; here threads begin together,
 * meet after each part, and end together. A weight matrix is read once a step, in the order in which it lies in memory
 * (panels of LANES outputs, for each input in turn), by the one thread whose columns they are.
 *
 * What a number of a row becomes depends neither on the other rows nor on the threads: all sums run in one order.
 *
 * C11 with the vectors of GCC. Threads are lent by the caller (simflow/native/library.py), who also
 * owns all memory.
 */
#if defined(__clang__)
#error "Clang (14) keeps the sums of a tile in memory, which makes these loops slower than torch's operations"
#endif
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__AVX512F__)
enum { LANES = 16, ROWS = 8, SUMS = 24 }; /* numbers in a vector; rows at once; vectors of sums, which stay in registers */
#elif defined(__AVX__)
enum { LANES = 8, ROWS = 4, SUMS = 12 };
#elif defined(__aarch64__)
enum { LANES = 4, ROWS = 8, SUMS = 24 };
#else
enum { LANES = 4, ROWS = 4, SUMS = 12 };
#endif

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Whole __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))

/* y = x weight + bias; the weight in panels, see pack(). */
typedef struct {
    const float *weight, *bias;
    int64_t in, out;
    int64_t bias_step; /* numbers from one row's bias to the next; 0 for one bias */
} Dense;

/* LayerNorm with a gain and a shift, or RMS norm with a gain (shift is NULL); no norm at all if gain is NULL. */
typedef struct {
    const float *gain, *shift;
    int64_t step; /* numbers from one row's gain to the next; 0 for one gain */
    double eps;
} Norm;

typedef struct {
    Norm norm_attention, norm_mlp;
    Dense qkv, proj, up, down;
    const float *gate_attention, *gate_mlp; /* (rows, width), or NULL for one */
} Layer;

typedef struct {
    int64_t rows, width, heads, inside, tokens, layers;
    const Layer *layer;
    Dense embed, head;
    const float *positions; /* (tokens, width), or NULL */
    Norm final;
    const float *scale;      /* (rows,): of the logits */
    const float *cos, *sin;  /* (tokens, size / 2), or NULL */
    int64_t prefix;          /* tokens before the first that has a position of the table */
    float *keys;             /* (layers, rows, heads, tokens to LANES, size, LANES) */
    float *values;           /* (layers, rows, heads, tokens, size to LANES) */
    float *x, *normed, *part; /* (rows, width) */
    float *qkv;              /* (rows, 3 width) */
    float *hidden;           /* (rows, inside) */
    float *scratch;          /* (threads, tokens and 2 sizes, each to LANES) */
} Net;

/* Who lends threads: GCC's OpenMP, which torch has loaded. */
typedef struct {
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
    int (*thread)(void);
    int (*threads)(void);
} Lender;

typedef struct {
    const Net *net;
    const float *token; /* (rows, channels) */
    int64_t position;
    float *out; /* (rows, outputs); NULL if they are of no use */
    int (*thread)(void);
    int (*threads)(void);
    atomic_int arrived, round;
} Step;

typedef struct {
    Step *step;
    int number, of, round;
} Thread;

INLINE int64_t up_to(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* ---- threads ---- */

static void meet(Thread *t) {
    if (t->of == 1) return;
    Step *s = t->step;
    int next = ++t->round;
    if (atomic_fetch_add(&s->arrived, 1) + 1 == t->of) {
        atomic_store(&s->arrived, 0);
        atomic_store(&s->round, next);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&s->round, memory_order_acquire) != next; spins++) {
        if (spins > 20000) sched_yield();
#if defined(__x86_64__) || defined(__i386__)
        else __builtin_ia32_pause();
#endif
    }
}

INLINE int64_t begin(const Thread *t, int64_t count) { return count * t->number / t->of; }
INLINE int64_t end(const Thread *t, int64_t count) { return count * (t->number + 1) / t->of; }

/* ---- elementwise ---- */

INLINE Vector load(const float *p) { return *(const Vector *)p; }
INLINE void store(float *p, Vector v) { *(Vector *)p = v; }

INLINE Vector pick(Whole where, Vector a, Vector b) { return (Vector)(((Whole)a & where) | ((Whole)b & ~where)); }

INLINE Vector exp_of(Vector x) {
    const Vector low = (Vector){0} - 87.0f;
    x = pick(x < low, low, x);
    Vector shifted = x * 1.44269504f + 12582912.0f; /* rounds to whole numbers, which stand in the last bits */
    Vector n = shifted - 12582912.0f;
    Vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vector p = r * 1.9841270e-4f + 1.3888889e-3f;
    p = p * r + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return (Vector)((Whole)p + ((Whole)shifted << 23));
}

/* x (1 + erf(x / sqrt 2)) / 2, erf by Abramowitz and Stegun 7.1.26 (to 1.5e-7). */
INLINE Vector gelu(Vector x) {
    Vector u = x * 0.70710678f, a = pick(u < 0, -u, u);
    Vector t = 1.0f / (1.0f + 0.3275911f * a);
    Vector p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = (p * t + 0.254829592f) * t;
    Vector tail = p * exp_of(-a * a); /* 1 - erf(a) */
    return 0.5f * x * pick(u < 0, tail, 2.0f - tail);
}

INLINE float sum_of(Vector v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

/* ---- products ---- */

enum Act { STORE, GELU, JOIN };

/* The first n numbers at p, zeros after them. */
INLINE Vector load_some(const float *p, int64_t n) {
    if (n >= LANES) return load(p);
    Vector v = {0};
    memcpy(&v, p, n * sizeof(float));
    return v;
}

INLINE void store_some(float *p, Vector v, int64_t n) {
    if (n >= LANES)
        store(p, v);
    else
        memcpy(p, &v, n * sizeof(float));
}

/* What becomes of the sums of m rows from r on and p panels. */
static void put(enum Act act, const Vector *sums, int64_t m, int64_t p, const Dense *dense, int64_t r, int64_t panel, float *out,
                int64_t step, const float *gate) {
    for (int64_t row = r; row < r + m; row++)
        for (int64_t c = panel * LANES; c < (panel + p) * LANES; c += LANES) {
            const int64_t left = dense->out - c;
            float *to = out + row * step + c;
            Vector v = *sums++ + load_some(dense->bias + row * dense->bias_step + c, left);
            if (act == GELU) v = gelu(v);
            if (act == JOIN && gate) v *= load_some(gate + row * step + c, left);
            if (act == JOIN) v += load_some(to, left);
            store_some(to, v, left);
        }
}

/* m rows with p panels; m and p are constants wherever this is inlined, so the sums live in registers. */
INLINE void tile(const int m, const int p, const Dense *dense, const float *x, int64_t step, int64_t panel, Vector *out) {
    const int64_t in = dense->in, stride = in * LANES;
    const float *w = dense->weight + panel * stride;
    Vector sums[SUMS] = {0};
    for (int64_t k = 0; k < in; k++)
#pragma GCC unroll 4
        for (int j = 0; j < p; j++) {
            const Vector column = load(w + j * stride + k * LANES);
#pragma GCC unroll 16
            for (int i = 0; i < m; i++) sums[i * p + j] += x[i * step + k] * column;
        }
#pragma GCC unroll 32
    for (int i = 0; i < m * p; i++) out[i] = sums[i];
}

#define TILE(m, p) \
    case 4 * m + p - 1: tile(m, p, dense, x + r * in_step, in_step, panel, sums); break;
#define WIDTHS(m) TILE(m, 1) TILE(m, 2) TILE(m, 3)

/* The thread's panels of all rows: the fewer rows, the more panels at once, so that enough sums are under way. */
static void product(const Thread *t, enum Act act, const Dense *dense, const float *x, int64_t in_step, float *out, int64_t out_step,
                    const float *gate) {
    const int64_t rows = t->step->net->rows, panels = up_to(dense->out, LANES) / LANES, last = end(t, panels);
    const int64_t chunks = (rows + ROWS - 1) / ROWS, most = (rows + chunks - 1) / chunks;
    const int64_t wide = SUMS / most < 4 ? SUMS / most : 4;
    Vector sums[SUMS];
    for (int64_t panel = begin(t, panels), p; panel < last; panel += p) {
        p = last - panel < wide ? last - panel : wide;
        for (int64_t r = 0, m; r < rows; r += m) {
            m = rows - r < most ? rows - r : most;
            switch (4 * m + p - 1) {
                WIDTHS(1) WIDTHS(2) WIDTHS(3) WIDTHS(4) TILE(1, 4) TILE(2, 4) TILE(3, 4)
#if defined(__AVX512F__) || defined(__aarch64__)
                WIDTHS(5) WIDTHS(6) WIDTHS(7) WIDTHS(8) TILE(4, 4) TILE(5, 4) TILE(6, 4)
#endif
            }
            put(act, sums, m, p, dense, r, panel, out, out_step, gate);
        }
    }
}

/* ---- norms ---- */

static void normalise(const Thread *t, const Norm *norm, const float *x, float *out) {
    const Net *net = t->step->net;
    const int64_t width = net->width, whole = width - width % LANES, last = end(t, net->rows);
    for (int64_t r = begin(t, net->rows); r < last; r++) {
        const float *in = x + r * width, *gain = norm->gain + r * norm->step;
        float *to = out + r * width, mean = 0, square = 0;
        if (norm->shift) {
            Vector sums = {0};
            for (int64_t c = 0; c < whole; c += LANES) sums += load(in + c);
            mean = sum_of(sums);
            for (int64_t c = whole; c < width; c++) mean += in[c];
            mean /= width;
        }
        Vector squares = {0};
        for (int64_t c = 0; c < whole; c += LANES) squares += (load(in + c) - mean) * (load(in + c) - mean);
        square = sum_of(squares);
        for (int64_t c = whole; c < width; c++) square += (in[c] - mean) * (in[c] - mean);
        const float by = 1.0f / sqrtf(square / width + (float)norm->eps);
        const float *shift = norm->shift ? norm->shift + r * norm->step : NULL;
        for (int64_t c = 0; c < whole; c += LANES) {
            Vector v = (load(in + c) - mean) * by * load(gain + c);
            if (shift) v += load(shift + c);
            store(to + c, v);
        }
        for (int64_t c = whole; c < width; c++) to[c] = (in[c] - mean) * by * gain[c] + (shift ? shift[c] : 0);
    }
}

/* ---- attention ---- */

/* One head of one row: its key and value find their place, and its query meets all keys so far. */
static void attend(const Net *net, int64_t layer, int64_t row, int64_t head, int64_t position, float *scratch) {
    const int64_t size = net->width / net->heads, wide = up_to(size, LANES), room = up_to(net->tokens, LANES);
    const int64_t place = (layer * net->rows + row) * net->heads + head, now = position + 1;
    float *keys = net->keys + place * room * size, *values = net->values + place * net->tokens * wide;
    float *logits = scratch, *query = logits + room, *sum = query + wide;
    const float *q = net->qkv + row * 3 * net->width + head * size, *k = q + net->width, *v = k + net->width;
    const float scale = net->scale[row];
    float *slot = keys + position / LANES * size * LANES + position % LANES;
    if (net->cos) {
        const float *cos = net->cos + position * (size / 2), *sin = net->sin + position * (size / 2);
        for (int64_t i = 0; i < size / 2; i++) {
            query[2 * i] = scale * (q[2 * i] * cos[i] - q[2 * i + 1] * sin[i]);
            query[2 * i + 1] = scale * (q[2 * i + 1] * cos[i] + q[2 * i] * sin[i]);
            slot[2 * i * LANES] = k[2 * i] * cos[i] - k[2 * i + 1] * sin[i];
            slot[(2 * i + 1) * LANES] = k[2 * i + 1] * cos[i] + k[2 * i] * sin[i];
        }
    } else {
        for (int64_t i = 0; i < size; i++) query[i] = scale * q[i], slot[i * LANES] = k[i];
    }
    memcpy(values + position * wide, v, size * sizeof(float));

    for (int64_t n = 0; n < now; n += LANES) {
        const float *panel = keys + n * size;
        Vector sums[4] = {0};
        int64_t i = 0;
        for (; i + 4 <= size; i += 4)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) sums[j] += query[i + j] * load(panel + (i + j) * LANES);
        for (; i < size; i++) sums[0] += query[i] * load(panel + i * LANES);
        store(logits + n, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
    for (int64_t n = now; n % LANES; n++) logits[n] = -INFINITY; /* tokens that are still to come */
    Vector most = load(logits), totals = {0};
    for (int64_t n = LANES; n < now; n += LANES) most = pick(load(logits + n) > most, load(logits + n), most);
    float top = most[0];
    for (int i = 1; i < LANES; i++) top = most[i] > top ? most[i] : top;
    for (int64_t n = 0; n < now; n += LANES) {
        const Vector weight = exp_of(load(logits + n) - top);
        store(logits + n, weight);
        totals += weight;
    }
    const float by = 1.0f / sum_of(totals);

    for (int64_t c = 0; c < wide; c += LANES) {
        Vector sums[4] = {0};
        int64_t n = 0;
        for (; n + 4 <= now; n += 4)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) sums[j] += logits[n + j] * load(values + (n + j) * wide + c);
        for (; n < now; n++) sums[0] += logits[n] * load(values + n * wide + c);
        store(sum + c, ((sums[0] + sums[1]) + (sums[2] + sums[3])) * by);
    }
    memcpy(net->part + row * net->width + head * size, sum, size * sizeof(float));
}

/* ---- the step ---- */

static void walk(void *step) {
    Step *s = step;
    Thread thread = {s, s->thread(), s->threads(), 0}, *t = &thread;
    const Net *net = s->net;
    const int64_t width = net->width, size = width / net->heads, position = s->position;
    float *scratch = net->scratch + t->number * (up_to(net->tokens, LANES) + 2 * up_to(size, LANES));

    if (s->token) {
        product(t, STORE, &net->embed, s->token, net->embed.in, net->x, width, NULL);
        meet(t);
    }
    const float *places = net->positions ? net->positions + (position - net->prefix) * width : NULL;
    if (s->token && places) {
        for (int64_t r = begin(t, net->rows); r < end(t, net->rows); r++)
            for (int64_t c = 0; c < width; c++) net->x[r * width + c] += places[c];
    }
    for (int64_t l = 0; l < net->layers; l++) {
        const Layer *layer = net->layer + l;
        normalise(t, &layer->norm_attention, net->x, net->normed);
        meet(t);
        product(t, STORE, &layer->qkv, net->normed, width, net->qkv, 3 * width, NULL);
        meet(t);
        const int64_t pairs = net->rows * net->heads;
        for (int64_t i = begin(t, pairs); i < end(t, pairs); i++) attend(net, l, i / net->heads, i % net->heads, position, scratch);
        meet(t);
        product(t, JOIN, &layer->proj, net->part, width, net->x, width, layer->gate_attention);
        meet(t);
        normalise(t, &layer->norm_mlp, net->x, net->normed);
        meet(t);
        product(t, GELU, &layer->up, net->normed, width, net->hidden, net->inside, NULL);
        meet(t);
        product(t, JOIN, &layer->down, net->hidden, net->inside, net->x, width, layer->gate_mlp);
        meet(t);
    }
    if (!s->out) return;
    const float *last = net->x;
    if (net->final.gain) {
        normalise(t, &net->final, net->x, net->normed);
        meet(t);
        last = net->normed;
    }
    product(t, STORE, &net->head, last, width, s->out, net->head.out, NULL);
}

static void lend(const Lender *lender, void (*act)(void *), void *with, int64_t threads);

/* The token (rows, channels) at a position -> outputs (rows, outputs). Without a token x holds the embedded one. */
void simflow_step(const Net *net, const Lender *lender, int64_t threads, const float *token, int64_t position, float *out) {
    Step step = {.net = net, .token = token, .position = position, .out = out};
    step.thread = lender->thread, step.threads = lender->threads;
    lend(lender, walk, &step, threads);
}

/* ---- packing ---- */

typedef struct {
    const float *weight; /* (out, in) */
    float *packed;
    int64_t in, out;
    int (*thread)(void);
    int (*threads)(void);
} Packing;

static void pack(void *packing) {
    const Packing *p = packing;
    const int64_t panels = up_to(p->out, LANES) / LANES, number = p->thread(), of = p->threads();
    for (int64_t panel = panels * number / of; panel < panels * (number + 1) / of; panel++) {
        float *to = p->packed + panel * p->in * LANES;
        for (int64_t k = 0; k < p->in; k += LANES) /* squares, so that what is written stays near */
            for (int64_t lane = 0; lane < LANES; lane++) {
                const int64_t c = panel * LANES + lane, last = k + LANES < p->in ? k + LANES : p->in;
                const float *from = p->weight + c * p->in;
                for (int64_t i = k; i < last; i++) to[i * LANES + lane] = c < p->out ? from[i] : 0;
            }
    }
}

/* A weight (out, in) as panels (out to LANES, in, LANES), zeros where there is no output. */
void simflow_pack(const float *weight, float *packed, int64_t out, int64_t in, const Lender *lender, int64_t threads) {
    Packing packing = {weight, packed, in, out, lender->thread, lender->threads};
    lend(lender, pack, &packing, threads);
}

/* Memory that is about to be written: in few large pages, which take less time to come than many small ones. */
void simflow_expect(void *memory, int64_t bytes) {
#if defined(__linux__)
    const uintptr_t page = 2 << 20, from = up_to((intptr_t)memory, page), to = ((uintptr_t)memory + bytes) / page * page;
    if (to > from) madvise((void *)from, to - from, MADV_HUGEPAGE); /* a wish: what comes of it does not matter */
#else
    (void)memory, (void)bytes;
#endif
}

static int none(void) { return 0; }
static int one(void) { return 1; }

static void lend(const Lender *lender, void (*act)(void *), void *with, int64_t threads) {
    if (threads > 1 && lender->parallel) {
        lender->parallel(act, with, (unsigned)threads, 0);
        return;
    }
    act(with);
}

/* A lender of nothing but the caller's own thread. */
Lender simflow_alone(void) {
    Lender lender = {NULL, none, one};
    return lender;
}

int64_t simflow_lanes(void) { return LANES; }

/* One token of every row through a causal transformer: the step of a walk on a CPU, in float32 or in half
 * precision.
 *
 * The same numbers as simflow/nn/step.py, whose every operation is here a loop. Between two operations of a step there
 * is nothing to do but to call the next one, and that is what a step of torch's costs most; here threads begin together,
 * meet after each part, and end together. A weight matrix is read once a step, in the order in which it lies in memory
 * (panels of LANES outputs, for each input in turn), by the one thread whose columns they are.
 *
 * What a number of a row becomes depends neither on the other rows nor on the threads: all sums run in one order.
 *
 * In half precision weights are kept as bfloat16, in pairs of two inputs, so that half the bytes are read. Sums and all
 * that is no product stay in float32. Processors with AVX512-BF16 multiply such pairs, those with AMX tiles of them, for
 * which what norms, attention and GELU give is rounded to bfloat16 as well; elsewhere a weight becomes float32 again in its
 * register.
 *
 * C11 with the vectors of GCC, which Clang has too. Threads are lent by the caller (simflow/native/library.py), who also
 * owns all memory.
 */
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__AVX512BF16__)
#define PAIRS 1
#include <immintrin.h>
#else
#define PAIRS 0
#endif
#if defined(__linux__) && defined(__AMX_BF16__) && PAIRS
#define TILES 1
#include <sys/syscall.h>
#include <unistd.h>
#else
#define TILES 0
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

/* A loop of at most so many turns, written out, so that what it fills stays in registers. */
#define TEXT(words) _Pragma(#words)
#if defined(__clang__)
#define UNROLL(turns) TEXT(clang loop unroll(full))
#else
#define UNROLL(turns) TEXT(GCC unroll turns)
#endif

/* y = x weight + bias; the weight in panels, see pack(). */
typedef struct {
    const void *weight; /* float32, or pairs of bfloat16 */
    const float *bias;
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
    float *x;                /* (rows, width) */
    float *qkv;              /* (rows, 3 width) */
    void *normed, *part;     /* (rows, width), in the layout of inputs to a product, see hand() */
    void *hidden;            /* (rows, inside), likewise */
    float *scratch;          /* (threads, tokens and 2 sizes, each to LANES) */
    int64_t half;            /* whether weights are pairs of bfloat16 */
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

enum { SIDE = 16, DEEP = 32 }; /* rows of a tile; its inputs, of which all products in half precision have whole tiles */

/* Whether the system lets this process have tiles. */
static int tiles;

/* Whether the inputs of products are rounded. */
INLINE int narrow(const Net *net) { return PAIRS && net->half; }

/* Numbers from one row of a product's rounded inputs to the next: whole tiles, and then some, so that the rows of a tile
 * do not fall on the same places of a cache. */
INLINE int64_t narrow_step(int64_t numbers) { return up_to(numbers, DEEP) + DEEP; }

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

/* Numbers of a row for the next product: n of them, or a vector, from column c of so many. */
INLINE void hand(const Net *net, void *to, int64_t row, int64_t c, int64_t numbers, Vector v, int64_t n) {
#if PAIRS
    if (narrow(net)) {
        const __m256i rounded = (__m256i)_mm512_cvtneps_pbh((__m512)v);
        uint16_t *at = (uint16_t *)to + row * narrow_step(numbers) + c;
        if (n >= LANES)
            memcpy(at, &rounded, sizeof rounded);
        else
            memcpy(at, &rounded, n * sizeof *at);
        return;
    }
#else
    (void)net;
#endif
    store_some((float *)to + row * numbers + c, v, n);
}

/* What becomes of the sums of m rows from r on and p panels. */
static void put(const Net *net, enum Act act, const Vector *sums, int64_t m, int64_t p, const Dense *dense, int64_t r, int64_t panel,
                void *out, int64_t step, const float *gate) {
    for (int64_t row = r; row < r + m; row++)
        for (int64_t c = panel * LANES; c < (panel + p) * LANES; c += LANES) {
            const int64_t left = dense->out - c;
            float *to = (float *)out + row * step + c;
            Vector v = *sums++ + load_some(dense->bias + row * dense->bias_step + c, left);
            if (act == GELU) {
                hand(net, out, row, c, step, gelu(v), left);
                continue;
            }
            if (act == JOIN && gate) v *= load_some(gate + row * step + c, left);
            if (act == JOIN) v += load_some(to, left);
            store_some(to, v, left);
        }
}

INLINE Vector even(Whole pair) { return (Vector)(pair << 16); }
INLINE Vector odd(Whole pair) { return (Vector)(pair & -65536); }

/* Numbers of a row, and how they meet a weight: float32 with float32, float32 with bfloat16, pairs with pairs. */
enum Kind { WHOLE, MIXED, PAIRED, KINDS };

INLINE Vector dot(Vector sum, uint32_t numbers, Whole pair) {
#if PAIRS
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)numbers), (__m512bh)pair);
#else
    (void)numbers, (void)pair;
    return sum;
#endif
}

/* m rows with p panels; m, p and kind are constants wherever this is inlined, so the sums live in registers. */
INLINE void block(const int m, const int p, const enum Kind kind, const Dense *dense, const void *rows, int64_t step,
                  int64_t panel, Vector *out) {
    const int64_t in = dense->in, stride = (kind == WHOLE ? in : up_to(in, DEEP) / 2) * LANES;
    const float *w = (const float *)dense->weight + panel * stride, *x = rows;
    const uint32_t *words = rows;
    Vector sums[SUMS] = {0};
    for (int64_t k = 0; k < in; k += kind == WHOLE ? 1 : 2)
UNROLL(4)
        for (int j = 0; j < p; j++) {
            const float *at = w + j * stride + (kind == WHOLE ? k : k / 2) * LANES;
            const Whole pair = *(const Whole *)at;
            if (kind == PAIRED) {
UNROLL(16)
                for (int i = 0; i < m; i++) sums[i * p + j] = dot(sums[i * p + j], words[(i * step + k) / 2], pair);
                continue;
            }
            const Vector column = kind == MIXED ? even(pair) : (Vector)pair;
UNROLL(16)
            for (int i = 0; i < m; i++) sums[i * p + j] += x[i * step + k] * column;
            if (kind == WHOLE || k + 1 == in) continue;
            const Vector next = odd(pair);
UNROLL(16)
            for (int i = 0; i < m; i++) sums[i * p + j] += x[i * step + k + 1] * next;
        }
UNROLL(32)
    for (int i = 0; i < m * p; i++) out[i] = sums[i];
}

#define BLOCK(m, p, kind) \
    case KINDS * (4 * m + p) + kind: block(m, p, kind, dense, from, in_step, panel, sums); break;
#if PAIRS
#define EACH(m, p) BLOCK(m, p, WHOLE) BLOCK(m, p, MIXED) BLOCK(m, p, PAIRED)
#else
#define EACH(m, p) BLOCK(m, p, WHOLE) BLOCK(m, p, MIXED)
#endif
#define WIDTHS(m) EACH(m, 1) EACH(m, 2) EACH(m, 3)

/* The thread's panels of all rows: the fewer rows, the more panels at once, so that enough sums are under way. */
static void product(const Thread *t, enum Act act, enum Kind kind, const Dense *dense, const void *x, int64_t in_step, void *out,
                    int64_t out_step, const float *gate) {
    const Net *net = t->step->net;
    const int64_t rows = net->rows, panels = up_to(dense->out, LANES) / LANES, last = end(t, panels);
    const int64_t chunks = (rows + ROWS - 1) / ROWS, most = (rows + chunks - 1) / chunks;
    const int64_t wide = SUMS / most < 4 ? SUMS / most : 4, size = kind == PAIRED ? sizeof(uint16_t) : sizeof(float);
    Vector sums[SUMS];
    for (int64_t panel = begin(t, panels), p; panel < last; panel += p) {
        p = last - panel < wide ? last - panel : wide;
        for (int64_t r = 0, m; r < rows; r += m) {
            const void *from = (const char *)x + r * in_step * size;
            m = rows - r < most ? rows - r : most;
            switch (KINDS * (4 * m + p) + kind) {
                WIDTHS(1) WIDTHS(2) WIDTHS(3) WIDTHS(4) EACH(1, 4) EACH(2, 4) EACH(3, 4)
#if defined(__AVX512F__) || defined(__aarch64__)
                WIDTHS(5) WIDTHS(6) WIDTHS(7) WIDTHS(8) EACH(4, 4) EACH(5, 4) EACH(6, 4)
#endif
            }
            put(net, act, sums, m, p, dense, r, panel, out, out_step, gate);
        }
    }
}

/* Of rows in float32. */
static void product_of_numbers(const Thread *t, enum Act act, const Dense *dense, const float *x, void *out, int64_t out_step,
                               const float *gate) {
    product(t, act, t->step->net->half ? MIXED : WHOLE, dense, x, dense->in, out, out_step, gate);
}

/* ---- products of tiles ---- */

#if TILES
/* Registers of a processor with AMX: 0 to 3 sums, of 16 rows with 16 outputs each; 4 and 5 rows; 6 and 7 weights. */
typedef struct {
    uint8_t palette, start, none[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} Registers;

static const Registers registers = {
    .palette = 1,
    .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE},
};

/* Sums of 16 rows, or of 32, with p panels, 1 or 2: (rows, p) vectors. */
INLINE void tile(const int two, const int p, const Dense *dense, const uint16_t *x, int64_t panel, Vector *out) {
    const int64_t deep = up_to(dense->in, DEEP), stride = deep / 2 * LANES, step = narrow_step(dense->in);
    const float *w = (const float *)dense->weight + panel * stride;
    __asm__ volatile("" ::: "memory"); /* GCC is not told that loads of tiles read memory */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < deep; k += DEEP) {
        _tile_loadd(4, x + k, step * 2);
        _tile_loadd(6, w + k / 2 * LANES, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (p == 2) {
            _tile_loadd(7, w + stride + k / 2 * LANES, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (two) {
            _tile_loadd(5, x + SIDE * step + k, step * 2);
            _tile_dpbf16ps(2, 5, 6);
            if (p == 2) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, out, p * 64);
    if (p == 2) _tile_stored(1, out + 1, p * 64);
    if (two) {
        _tile_stored(2, out + SIDE * p, p * 64);
        if (p == 2) _tile_stored(3, out + SIDE * p + 1, p * 64);
    }
}
#endif

/* The thread's panels of all rows, which hand() has written. */
static void product_of_handed(const Thread *t, enum Act act, const Dense *dense, const void *x, void *out, int64_t out_step,
                              const float *gate) {
    const Net *net = t->step->net;
    if (!narrow(net)) {
        product_of_numbers(t, act, dense, x, out, out_step, gate);
        return;
    }
    if (!tiles) {
        product(t, act, PAIRED, dense, x, narrow_step(dense->in), out, out_step, gate);
        return;
    }
#if TILES
    const int64_t rows = net->rows, panels = up_to(dense->out, LANES) / LANES, last = end(t, panels);
    Vector sums[2 * SIDE * 2];
    for (int64_t panel = begin(t, panels), p; panel < last; panel += p) {
        p = last - panel < 2 ? 1 : 2;
        for (int64_t r = 0, m; r < rows; r += m) {
            const uint16_t *from = (const uint16_t *)x + r * narrow_step(dense->in);
            const int two = rows - r > SIDE;
            m = rows - r < 2 * SIDE ? rows - r : 2 * SIDE;
            switch (2 * two + (p == 2)) {
            case 0: tile(0, 1, dense, from, panel, sums); break;
            case 1: tile(0, 2, dense, from, panel, sums); break;
            case 2: tile(1, 1, dense, from, panel, sums); break;
            case 3: tile(1, 2, dense, from, panel, sums); break;
            }
            put(net, act, sums, m, p, dense, r, panel, out, out_step, gate);
        }
    }
#endif
}

/* ---- norms ---- */

static void normalise(const Thread *t, const Norm *norm, const float *x, void *out) {
    const Net *net = t->step->net;
    const int64_t width = net->width, whole = width - width % LANES, last = end(t, net->rows);
    for (int64_t r = begin(t, net->rows); r < last; r++) {
        const float *in = x + r * width, *gain = norm->gain + r * norm->step;
        float mean = 0, square = 0;
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
            hand(net, out, r, c, width, v, LANES);
        }
        if (whole == width) continue;
        Vector v = (load_some(in + whole, width - whole) - mean) * by * load_some(gain + whole, width - whole);
        if (shift) v += load_some(shift + whole, width - whole);
        hand(net, out, r, whole, width, v, width - whole);
    }
}

/* ---- attention ---- */

/* Words of 4 bytes from one head's keys to the next one's, and of its values: of a number each, or of two in half precision,
 * where a word of keys holds two inputs of a token and a word of values two tokens. */
INLINE int64_t keys_step(const Net *net) {
    const int64_t size = net->width / net->heads, room = up_to(net->tokens, LANES);
    return room * (net->half ? up_to(size, 2) / 2 : size);
}
INLINE int64_t values_step(const Net *net) {
    const int64_t wide = up_to(net->width / net->heads, LANES);
    return (net->half ? up_to(net->tokens, 2) / 2 : net->tokens) * wide;
}

/* The nearest bfloat16 in the upper half of each word, something in the lower. */
INLINE Whole high(Vector v) { return (Whole)v + 0x7fff + ((Whole)v >> 16 & 1); }

/* The key and the value of a token find their place. */
static void keep(const Net *net, float *keys, float *values, int64_t position, float *key, const float *value) {
    const int64_t size = net->width / net->heads, wide = up_to(size, LANES), pairs = up_to(size, 2) / 2;
    if (!net->half) {
        float *slot = keys + position / LANES * size * LANES + position % LANES;
        for (int64_t i = 0; i < size; i++) slot[i * LANES] = key[i];
        memcpy(values + position * wide, value, size * sizeof(float));
        return;
    }
    uint32_t words[2];
    float *slot = keys + position / LANES * pairs * LANES + position % LANES, *row = values + position / 2 * wide;
    for (int64_t i = size; i < wide; i++) key[i] = 0;
    for (int64_t i = 0; i < size; i += LANES) store(key + i, (Vector)high(load(key + i)));
    for (int64_t i = 0; i < pairs; i++) {
        memcpy(words, key + 2 * i, sizeof words);
        const uint32_t pair = words[0] >> 16 | (words[1] & 0xffff0000);
        memcpy(slot + i * LANES, &pair, sizeof pair);
    }
    for (int64_t c = 0; c < wide; c += LANES) {
        const Whole now = high(load_some(value + c, size - c)), before = (Whole)load(row + c) & 0xffff;
        store(row + c, (Vector)(position % 2 ? before | (now & -65536) : now >> 16 & 0xffff));
    }
}

/* One head of one row: its key and value find their place, and its query meets all keys so far. */
static void attend(const Net *net, int64_t layer, int64_t row, int64_t head, int64_t position, float *scratch) {
    const int64_t size = net->width / net->heads, wide = up_to(size, LANES), room = up_to(net->tokens, LANES);
    const int64_t place = (layer * net->rows + row) * net->heads + head, now = position + 1;
    float *keys = net->keys + place * keys_step(net), *values = net->values + place * values_step(net);
    float *logits = scratch, *query = logits + room, *key = query + wide;
    const float *q = net->qkv + row * 3 * net->width + head * size, *k = q + net->width, *v = k + net->width;
    const float scale = net->scale[row];
    if (net->cos) {
        const float *cos = net->cos + position * (size / 2), *sin = net->sin + position * (size / 2);
        for (int64_t i = 0; i < size / 2; i++) {
            query[2 * i] = scale * (q[2 * i] * cos[i] - q[2 * i + 1] * sin[i]);
            query[2 * i + 1] = scale * (q[2 * i + 1] * cos[i] + q[2 * i] * sin[i]);
            key[2 * i] = k[2 * i] * cos[i] - k[2 * i + 1] * sin[i];
            key[2 * i + 1] = k[2 * i + 1] * cos[i] + k[2 * i] * sin[i];
        }
    } else {
        for (int64_t i = 0; i < size; i++) query[i] = scale * q[i], key[i] = k[i];
    }
    keep(net, keys, values, position, key, v);

    const int64_t deep = net->half ? up_to(size, 2) / 2 : size;
    if (size % 2) query[size] = 0;
    for (int64_t n = 0; n < now; n += LANES) {
        const float *panel = keys + n * deep;
        Vector sums[4] = {0};
        int64_t i = 0;
        if (net->half) {
            for (; i + 2 <= deep; i += 2)
UNROLL(2)
                for (int j = 0; j < 2; j++) {
                    const Whole pair = (Whole)load(panel + (i + j) * LANES);
                    sums[2 * j] += query[2 * (i + j)] * even(pair);
                    sums[2 * j + 1] += query[2 * (i + j) + 1] * odd(pair);
                }
            if (i < deep) {
                const Whole pair = (Whole)load(panel + i * LANES);
                sums[0] += query[2 * i] * even(pair);
                sums[1] += query[2 * i + 1] * odd(pair);
            }
        } else {
            for (; i + 4 <= deep; i += 4)
UNROLL(4)
                for (int j = 0; j < 4; j++) sums[j] += query[i + j] * load(panel + (i + j) * LANES);
            for (; i < deep; i++) sums[0] += query[i] * load(panel + i * LANES);
        }
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
        if (net->half) {
            for (; n + 4 <= up_to(now, 2); n += 4)
UNROLL(2)
                for (int j = 0; j < 2; j++) {
                    const Whole pair = (Whole)load(values + (n / 2 + j) * wide + c);
                    sums[2 * j] += logits[n + 2 * j] * even(pair);
                    sums[2 * j + 1] += logits[n + 2 * j + 1] * odd(pair);
                }
            if (n < now) {
                const Whole pair = (Whole)load(values + n / 2 * wide + c);
                sums[0] += logits[n] * even(pair);
                sums[1] += logits[n + 1] * odd(pair);
            }
        } else {
            for (; n + 4 <= now; n += 4)
UNROLL(4)
                for (int j = 0; j < 4; j++) sums[j] += logits[n + j] * load(values + (n + j) * wide + c);
            for (; n < now; n++) sums[0] += logits[n] * load(values + n * wide + c);
        }
        hand(net, net->part, row, head * size + c, net->width, ((sums[0] + sums[1]) + (sums[2] + sums[3])) * by, size - c);
    }
}

/* ---- the step ---- */

static void walk(void *step) {
    Step *s = step;
    Thread thread = {s, s->thread(), s->threads(), 0}, *t = &thread;
    const Net *net = s->net;
    const int64_t width = net->width, size = width / net->heads, position = s->position;
    float *scratch = net->scratch + t->number * (up_to(net->tokens, LANES) + 2 * up_to(size, LANES));
#if TILES
    Registers before;
    if (tiles && narrow(net)) {
        _tile_storeconfig(&before);
        _tile_loadconfig(&registers);
    }
#endif

    if (s->token) {
        product_of_numbers(t, STORE, &net->embed, s->token, net->x, width, NULL);
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
        product_of_handed(t, STORE, &layer->qkv, net->normed, net->qkv, 3 * width, NULL);
        meet(t);
        const int64_t pairs = net->rows * net->heads;
        for (int64_t i = begin(t, pairs); i < end(t, pairs); i++) attend(net, l, i / net->heads, i % net->heads, position, scratch);
        meet(t);
        product_of_handed(t, JOIN, &layer->proj, net->part, net->x, width, layer->gate_attention);
        meet(t);
        normalise(t, &layer->norm_mlp, net->x, net->normed);
        meet(t);
        product_of_handed(t, GELU, &layer->up, net->normed, net->hidden, net->inside, NULL);
        meet(t);
        product_of_handed(t, JOIN, &layer->down, net->hidden, net->x, width, layer->gate_mlp);
        meet(t);
    }
    if (s->out && net->final.gain) {
        normalise(t, &net->final, net->x, net->normed);
        meet(t);
        product_of_handed(t, STORE, &net->head, net->normed, s->out, net->head.out, NULL);
    } else if (s->out) {
        product_of_numbers(t, STORE, &net->head, net->x, s->out, net->head.out, NULL);
    }
#if TILES
    if (tiles && narrow(net)) { /* as they were found, for torch's own kernels keep theirs */
        if (before.palette)
            _tile_loadconfig(&before);
        else
            _tile_release();
    }
#endif
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
    void *packed;
    int64_t in, out, half;
    int (*thread)(void);
    int (*threads)(void);
} Packing;

/* The nearest bfloat16, of two the even one: its 16 bits. What is no number stays none. */
INLINE uint32_t rounded(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return number != number ? bits >> 16 | 64 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static void pack(void *packing) {
    const Packing *p = packing;
    const int64_t panels = up_to(p->out, LANES) / LANES, number = p->thread(), of = p->threads();
    const int64_t in = p->half ? up_to(p->in, DEEP) : p->in, words = p->half ? in / 2 : in;
    for (int64_t panel = panels * number / of; panel < panels * (number + 1) / of; panel++) {
        float *to = (float *)p->packed + panel * words * LANES;
        for (int64_t k = 0; k < in; k += LANES) /* squares, so that what is written stays near */
            for (int64_t lane = 0; lane < LANES; lane++) {
                const int64_t c = panel * LANES + lane, last = k + LANES < in ? k + LANES : in;
                const float *from = p->weight + c * p->in;
                if (!p->half) {
                    for (int64_t i = k; i < last; i++) to[i * LANES + lane] = c < p->out ? from[i] : 0;
                    continue;
                }
                for (int64_t i = k; i < last; i += 2) {
                    const uint32_t one = c < p->out && i < p->in ? rounded(from[i]) : 0;
                    const uint32_t two = c < p->out && i + 1 < p->in ? rounded(from[i + 1]) : 0, pair = one | two << 16;
                    memcpy(to + i / 2 * LANES + lane, &pair, sizeof pair);
                }
            }
    }
}

/* A weight (out, in) as panels (out to LANES, in, LANES), zeros where there is no output; in half precision as panels
 * (out to LANES, in to DEEP / 2, LANES, 2), zeros where there is no input. */
void simflow_pack(const float *weight, void *packed, int64_t out, int64_t in, int64_t half, const Lender *lender, int64_t threads) {
    Packing packing = {weight, packed, in, out, half, lender->thread, lender->threads};
    lend(lender, pack, &packing, threads);
}

/* Numbers of 4 bytes that a packed weight takes. */
int64_t simflow_packed(int64_t out, int64_t in, int64_t half) { return up_to(out, LANES) * (half ? up_to(in, DEEP) / 2 : in); }

/* Numbers of 4 bytes that rows of inputs to a product take, see hand(); they must be zeros at first. */
int64_t simflow_inputs(int64_t rows, int64_t numbers, int64_t half) {
    return PAIRS && half ? (tiles ? up_to(rows, SIDE) : rows) * narrow_step(numbers) / 2 : rows * numbers;
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

/* Whether inputs of products are rounded in half precision; tiles are asked for, which the system must allow a process. */
int64_t simflow_rounds(void) {
#if TILES
    enum { ASK = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM */
    tiles = !syscall(SYS_arch_prctl, ASK, TILE_DATA);
#endif
    return PAIRS;
}

// Norms with weights, for models that have them: RMSNorm (Zhang & Sennrich 2019), LayerNorm (Ba et al. 2016),
// backwards.
//
//     rms:    y = x·r·gain,            r = (Σx²/C + ε)^-½
//             dx = r·(dy·gain - x·r²·⟨dy·gain, x⟩/C),  dgain = Σ dy·x·r over the rows
//     layer:  y = x̂·gain [+ bias],       x̂ = (x - mean)·r,  r = (Σ(x - mean)²/C + ε)^-½
//             dx = [residual +] r·(g - Σg/C - x̂·⟨g, x̂⟩/C) with g = dy·gain,  dgain = Σ dy·x̂,  dbias = Σ dy
//
// Letters: N rows, C columns.
//
// Bound by the bytes of x, y, dx and dy, each of which crosses DRAM once. A row belongs to a warp, which reads it
// again from L1 for each further pass, so any width will do: RMSNorm passes twice, LayerNorm three times, since its
// variance is summed about the mean.
//
// The backwards give a block some rows. First each warp takes its rows' dot products, then all go through the
// columns, 256 at a time: dx is stored, and what a row adds to dgain stays in registers, a lane its eight columns,
// until the warps are added up in order. That costs a barrier per 256 columns, keeps every warp busy at any width,
// and leaves one partial row a block; `norm_backward_reduce` adds them in order.
//
// 16-byte accesses where C is a multiple of 8 and all bases are aligned to 16; else the same code moves number by
// number.
#include "shared/reductions.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;
// Stored numbers of a lane, and of a warp, at a time.
constexpr u32 WIDE = 8;
constexpr u32 SPAN = WARP * WIDE;
// Rows of a block of the backwards: suits 16384 rows of 384 columns.
HOST constexpr u32 NORM_ROWS = 64;

// Of x [N, C] and gain [C] the norm y [N, C] and r, rstd [N]. LayerNorm makes mean [N], and may
// have a bias [C]; null in RMSNorm.
struct NormArgs {
    const store_t *x;
    const store_t *gain;
    const store_t *bias;
    store_t *y;
    float *mean;
    float *rstd;
    u32 rows;
    u32 cols;
    float eps;
};

// Of dy, x [N, C], gain [C], mean and rstd [N] the gradients dx [N, C], dgain and dbias [C]; mean, residual [N, C] and dbias are
// null in RMSNorm, the latter two may be in LayerNorm. partials [⌈N/64⌉, C] of dgain, or in LayerNorm [⌈N/64⌉, 2, C] of dgain
// and dbias.
struct NormBackwardArgs {
    const store_t *dy;
    const store_t *x;
    const store_t *gain;
    const float *mean;
    const float *rstd;
    const store_t *residual;
    store_t *dx;
    float *partials;
    float *dgain;
    float *dbias;
    u32 rows;
    u32 cols;
    Accumulate accumulate;
};

// The eight columns of a lane in the span that starts at `first`: neighbours where they move together, else every 32nd.
template <bool Wide> DEVICE u32 column(u32 first, u32 lane, u32 i) {
    return Wide ? first + lane * WIDE + i : first + lane + i * WARP;
}

// A lane's numbers of a span; 0 beyond the row.
template <bool Wide> DEVICE Eight load_span(const store_t *row, u32 first, u32 lane, u32 cols) {
    Eight v = {};
    if constexpr (Wide) {
        if (first + lane * WIDE < cols) {
            v = load8(row + first + lane * WIDE);
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < WIDE; ++i) {
            const u32 c = column<Wide>(first, lane, i);
            v.at[i] = c < cols ? widen(row[c]) : 0.0f;
        }
    }
    return v;
}

template <bool Wide> DEVICE void store_span(store_t *row, const Eight &v, u32 first, u32 lane, u32 cols) {
    if constexpr (Wide) {
        if (first + lane * WIDE < cols) {
            store16(row + first + lane * WIDE, make_uint4(pack(v.at[0], v.at[1]), pack(v.at[2], v.at[3]),
                                                          pack(v.at[4], v.at[5]), pack(v.at[6], v.at[7])));
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < WIDE; ++i) {
            const u32 c = column<Wide>(first, lane, i);
            if (c < cols) {
                row[c] = narrow(v.at[i]);
            }
        }
    }
}

DEVICE float dot8(const Eight &a, const Eight &b) {
    float sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < WIDE; ++i) {
        sum += a.at[i] * b.at[i];
    }
    return sum;
}

// One row of RMSNorm; returns r.
template <bool Wide>
DEVICE float rms_row(const store_t *x, const store_t *gain, store_t *y, u32 lane, u32 cols, float eps) {
    float sum = 0.0f;
    for (u32 first = 0; first < cols; first += SPAN) {
        const Eight v = load_span<Wide>(x, first, lane, cols);
        sum += dot8(v, v);
    }
    const float r = rsqrtf(group_sum(sum) / float(cols) + eps);
    for (u32 first = 0; first < cols; first += SPAN) {
        Eight v = load_span<Wide>(x, first, lane, cols);
        const Eight g = load_span<Wide>(gain, first, lane, cols);
#pragma unroll
        for (u32 i = 0; i < WIDE; ++i) {
            v.at[i] *= r * g.at[i];
        }
        store_span<Wide>(y, v, first, lane, cols);
    }
    return r;
}

// y = x·r·gain and r.
BLOCK_ROWS(rms_norm, WARPS);
extern "C" __global__ void __launch_bounds__(256, 4)
rms_norm(NormArgs args) {
    const u32 row = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, cols = args.cols;
    if (row >= args.rows) {
        return;
    }
    const size_t at = size_t(row) * cols;
    const bool wide = cols % WIDE == 0 && aligned16(args.x, args.gain, args.y);
    const float r = wide ? rms_row<true>(args.x + at, args.gain, args.y + at, lane, cols, args.eps)
                         : rms_row<false>(args.x + at, args.gain, args.y + at, lane, cols, args.eps);
    if (lane == 0) {
        args.rstd[row] = r;
    }
}

// One row of LayerNorm; returns its mean and r.
template <bool Wide>
DEVICE float2 layer_row(const store_t *x, const store_t *gain, const store_t *bias, store_t *y, u32 lane, u32 cols,
                        float eps) {
    float sum = 0.0f;
    for (u32 first = 0; first < cols; first += SPAN) {
        const Eight v = load_span<Wide>(x, first, lane, cols);
#pragma unroll
        for (u32 i = 0; i < WIDE; ++i) {
            sum += v.at[i];
        }
    }
    const float mean = group_sum(sum) / float(cols);
    float squares = 0.0f;
    for (u32 first = 0; first < cols; first += SPAN) {
        const Eight v = load_span<Wide>(x, first, lane, cols);
#pragma unroll
        for (u32 i = 0; i < WIDE; ++i) {
            const float off = column<Wide>(first, lane, i) < cols ? v.at[i] - mean : 0.0f;
            squares += off * off;
        }
    }
    const float r = rsqrtf(group_sum(squares) / float(cols) + eps);
    for (u32 first = 0; first < cols; first += SPAN) {
        Eight v = load_span<Wide>(x, first, lane, cols);
        const Eight g = load_span<Wide>(gain, first, lane, cols);
        const Eight b = bias != nullptr ? load_span<Wide>(bias, first, lane, cols) : Eight{};
#pragma unroll
        for (u32 i = 0; i < WIDE; ++i) {
            v.at[i] = (v.at[i] - mean) * r * g.at[i] + b.at[i];
        }
        store_span<Wide>(y, v, first, lane, cols);
    }
    return make_float2(mean, r);
}

// y = x̂·gain + bias, and the mean and r of each row.
BLOCK_ROWS(layer_norm, WARPS);
extern "C" __global__ void __launch_bounds__(256, 4)
layer_norm(NormArgs args) {
    const u32 row = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, cols = args.cols;
    if (row >= args.rows) {
        return;
    }
    const size_t at = size_t(row) * cols;
    const bool wide = cols % WIDE == 0 && aligned16(args.x, args.gain, args.bias, args.y);
    const float2 stats = wide ? layer_row<true>(args.x + at, args.gain, args.bias, args.y + at, lane, cols, args.eps)
                              : layer_row<false>(args.x + at, args.gain, args.bias, args.y + at, lane, cols, args.eps);
    if (lane == 0) {
        args.mean[row] = stats.x;
        args.rstd[row] = stats.y;
    }
}

// What the rows of a block have in common between its two passes: of each row r·mean, r and the means of g and g·x̂
// over its columns; and the sums of the warps on their way to a partial row.
struct Shared {
    float shift[NORM_ROWS];
    float scale[NORM_ROWS];
    float mean_g[NORM_ROWS];
    float mean_gx[NORM_ROWS];
    float sums[WARPS][SPAN];
};

// Adds up the warps' sums of a span, in order, into a partial row. Every thread of the block comes here.
template <bool Wide>
DEVICE void add_warps(Shared &shared, const Eight &sum, float *partial, u32 first, u32 cols) {
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    __syncthreads(); // the span before has been read
#pragma unroll
    for (u32 i = 0; i < WIDE; ++i) {
        shared.sums[warp][lane + i * WARP] = sum.at[i];
    }
    __syncthreads();
    static_assert(THREADS == SPAN, "a thread adds one column of a span");
    const u32 of = threadIdx.x; // number of the column among the span's, as the lanes hold them
    const u32 c = column<Wide>(first, of % WARP, of / WARP);
    if (c < cols) {
        float total = 0.0f;
#pragma unroll
        for (u32 w = 0; w < WARPS; ++w) {
            total += shared.sums[w][of];
        }
        partial[c] = total;
    }
}

// Backward of either norm over a block's rows. x̂ = x·scale - shift; Layer says whether there are a mean and a bias.
template <bool Wide, bool Layer> DEVICE void backward_rows(Shared &shared, const NormBackwardArgs &args) {
    const u32 row_of_block = blockIdx.x * NORM_ROWS, count = min(NORM_ROWS, args.rows - row_of_block), cols = args.cols;
    const size_t first_of_block = size_t(row_of_block) * cols;
    const store_t *dy = args.dy + first_of_block, *x = args.x + first_of_block, *gain = args.gain;
    const float *mean = Layer ? args.mean + row_of_block : nullptr, *rstd = args.rstd + row_of_block;
    store_t *dx = args.dx + first_of_block;
    float *partial = args.partials + size_t(blockIdx.x) * (Layer ? 2 : 1) * cols;
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    for (u32 row = warp; row < count; row += WARPS) {
        const size_t at = size_t(row) * cols;
        const float scale = rstd[row], shift = Layer ? mean[row] * scale : 0.0f;
        float sum_g = 0.0f, sum_gx = 0.0f;
        for (u32 first = 0; first < cols; first += SPAN) {
            const Eight d = load_span<Wide>(dy + at, first, lane, cols), v = load_span<Wide>(x + at, first, lane, cols);
            const Eight w = load_span<Wide>(gain, first, lane, cols);
#pragma unroll
            for (u32 i = 0; i < WIDE; ++i) {
                const float g = d.at[i] * w.at[i];
                sum_g += g;
                sum_gx += g * (v.at[i] * scale - shift);
            }
        }
        sum_gx = group_sum(sum_gx);
        if (Layer) {
            sum_g = group_sum(sum_g);
        }
        if (lane == 0) {
            shared.shift[row] = shift;
            shared.scale[row] = scale;
            shared.mean_g[row] = Layer ? sum_g / float(cols) : 0.0f;
            shared.mean_gx[row] = sum_gx / float(cols);
        }
    }
    __syncwarp(); // a warp's rows are its own in the second pass too

    for (u32 first = 0; first < cols; first += SPAN) {
        const Eight w = load_span<Wide>(gain, first, lane, cols);
        Eight dgain = {}, dbias = {};
        for (u32 row = warp; row < count; row += WARPS) {
            const size_t at = size_t(row) * cols;
            const Eight d = load_span<Wide>(dy + at, first, lane, cols), v = load_span<Wide>(x + at, first, lane, cols);
            const float scale = shared.scale[row], shift = shared.shift[row];
            const float mean_g = shared.mean_g[row], mean_gx = shared.mean_gx[row];
            Eight out;
#pragma unroll
            for (u32 i = 0; i < WIDE; ++i) {
                const float normal = v.at[i] * scale - shift;
                out.at[i] = scale * (d.at[i] * w.at[i] - mean_g - normal * mean_gx);
                dgain.at[i] += d.at[i] * normal;
                dbias.at[i] += d.at[i];
            }
            if (Layer && args.residual != nullptr) {
                const Eight around = load_span<Wide>(args.residual + first_of_block + at, first, lane, cols);
#pragma unroll
                for (u32 i = 0; i < WIDE; ++i) {
                    out.at[i] += around.at[i];
                }
            }
            store_span<Wide>(dx + at, out, first, lane, cols);
        }
        add_warps<Wide>(shared, dgain, partial, first, cols);
        if (Layer) {
            add_warps<Wide>(shared, dbias, partial + cols, first, cols);
        }
    }
}

// Either norm, its rows moved in the widest accesses that their addresses allow.
template <bool Layer> DEVICE void norm_backward(const NormBackwardArgs &args) {
    __shared__ Shared shared;
    if (args.cols % WIDE == 0 && aligned16(args.dy, args.x, args.gain, args.dx) &&
        (!Layer || aligned16(args.residual))) {
        backward_rows<true, Layer>(shared, args);
    } else {
        backward_rows<false, Layer>(shared, args);
    }
}

// dx and partials of dgain.
BLOCK_ROWS(rms_norm_backward, NORM_ROWS);
extern "C" __global__ void __launch_bounds__(256, 3)
rms_norm_backward(NormBackwardArgs args) {
    norm_backward<false>(args);
}

// dx and partials of dgain and dbias.
BLOCK_ROWS(layer_norm_backward, NORM_ROWS);
extern "C" __global__ void __launch_bounds__(256, 3)
layer_norm_backward(NormBackwardArgs args) {
    norm_backward<true>(args);
}

// dgain, and dbias where there is one, (+)= Σ partials over the blocks: a row of the grid each. A block makes 32 columns;
// each of its 8 warps adds an eighth of the partial rows in order, and the eighths are added in order.
BLOCK(norm_backward_reduce, 1, WARP, COLS_FIRST);
extern "C" __global__ void __launch_bounds__(256)
norm_backward_reduce(NormBackwardArgs args) {
    __shared__ float eighths[WARPS][WARP];
    const u32 blocks = ceil_div(args.rows, NORM_ROWS), cols = args.cols;
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 c = blockIdx.x * WARP + lane;
    const size_t stride = size_t(args.mean == nullptr ? 1 : 2) * cols;
    const u32 share = ceil_div(blocks, WARPS);
    float sum = 0.0f;
    if (c < cols) {
        const float *from = args.partials + size_t(blockIdx.y) * cols + c;
#pragma unroll 8
        for (u32 block = warp * share; block < min(blocks, (warp + 1) * share); ++block) {
            sum += from[block * stride];
        }
    }
    eighths[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && c < cols) {
        float total = 0.0f;
#pragma unroll
        for (u32 w = 0; w < WARPS; ++w) {
            total += eighths[w][lane];
        }
        put((blockIdx.y == 0 ? args.dgain : args.dbias)[c], total, args.accumulate);
    }
}

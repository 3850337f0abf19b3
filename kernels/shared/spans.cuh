// Who sees whom, as spans of positions.
#pragma once
#include "shared/types.cuh"

// What kernels are made for: attention over texts alone, or by blocks over texts with noise and without.
enum class Sees { Text, Blocks };

// Positions [start, end) of the sequence whose first row this is.
struct Span {
    size_t row;
    u32 start;
    u32 end;
};

// The keys that queries at positions `first` to `last` of the sequence at `row` see, in two spans; of one query exactly
// these. Under blocks those of the text without noise, then those of the queries' own; the second is empty otherwise.
template <class Args> DEVICE Span keys_seen(const Args &args, size_t row, u32 first, u32 last, u32 which) {
    if (args.block == 0) {
        return which == 0 ? Span{row, 0, args.causal != 0 ? last + 1 : args.positions} : Span{row, 0, 0};
    }
    const bool noised = row < args.half;
    const u32 start = last - last % args.block;
    if (which == 0) {
        return noised ? Span{row + args.half, 0, start} : Span{row, 0, start + args.block};
    }
    return Span{row, first - first % args.block, noised ? start + args.block : 0};
}

// The queries that see keys at positions `first` to `last`, in two spans; of one key exactly these. Under blocks those of
// the keys' own text, then those with noise that see keys without.
template <class Args> DEVICE Span queries_seeing(const Args &args, size_t row, u32 first, u32 last, u32 which) {
    if (args.block == 0) {
        return which == 0 ? Span{row, args.causal != 0 ? first : 0, args.positions} : Span{row, 0, 0};
    }
    const bool noised = row < args.half;
    const u32 start = first - first % args.block;
    if (which == 0) {
        return Span{row, start, noised ? last - last % args.block + args.block : args.positions};
    }
    return noised ? Span{row, 0, 0} : Span{row - args.half, start + args.block, args.positions};
}

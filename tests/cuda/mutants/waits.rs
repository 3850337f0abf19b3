//! Barriers and waits that are missing.

use super::*;

pub(super) const BUGS: &[Mutant] = &[
    bug(
        "the product's loop has no barrier",
        MAIN_LOOP,
        "copy_wait<AHEAD - 1>();\n            __syncthreads();",
        "copy_wait<AHEAD - 1>();",
    ),
    bug("the product's loop waits for a group too few", MAIN_LOOP, "copy_wait<AHEAD - 1>();", "copy_wait<AHEAD>();"),
    bug("the product's loop does not wait", MAIN_LOOP_BACK, "copy_wait<AHEAD - 1>();", "").late(),
    bug(
        "the product's rest is not waited for",
        MAIN_LOOP,
        "copy_wait<0>();\n        __syncthreads();\n        multiply_stage<T>(sum, left, right, 0);",
        "__syncthreads();\n        multiply_stage<T>(sum, left, right, 0);",
    )
    .late(),
    bug(
        "the epilogue stages sums where others still multiply",
        STAGING,
        "    copy_wait<0>();\n    __syncthreads();\n    if (threadIdx.x < T::ROWS) {",
        "    if (threadIdx.x < T::ROWS) {",
    ),
    bug(
        "the epilogue reads sums that are not staged yet",
        STAGING,
        "stage_sums<T>(sum, shared, pass);\n        __syncthreads();",
        "stage_sums<T>(sum, shared, pass);",
    ),
    bug(
        "the plain product overwrites what others read",
        PLAIN_PRODUCT,
        "__syncthreads(); // the tiles before have been read",
        "",
    ),
    bug(
        "the head's loop has no barrier",
        HEAD_LOSS,
        "copy_wait<STAGES - 2>();\n            __syncthreads();",
        "copy_wait<STAGES - 2>();",
    ),
    bug("the head waits for a group too few", HEAD_LOSS, "copy_wait<STAGES - 2>();", "copy_wait<STAGES - 1>();").late(),
    bug(
        "attention's loop has no barrier",
        ATTENTION,
        "        copy_wait<0>();\n        __syncthreads();\n        offset ^=",
        "        copy_wait<0>();\n        offset ^=",
    )
    .times(2),
    bug(
        "attention's loop does not wait",
        ATTENTION,
        "        copy_wait<0>();\n        __syncthreads();\n        offset ^=",
        "        __syncthreads();\n        offset ^=",
    )
    .times(2)
    .late(),
    bug("attention's backward does not wait", BACKWARD, "        copy_wait<0>();\n", "").times(2).late(),
    bug(
        "attention's backward has no barrier",
        BACKWARD,
        "        copy_wait<0>();\n        __syncthreads();\n    }",
        "        copy_wait<0>();\n    }",
    )
    .times(2),
    bug(
        "the counting over a block lacks a barrier",
        COUNTS,
        "__syncthreads(); // what was last put together may still be read",
        "",
    )
    .times(2),
    bug("strips are added up before they are there", CONV, "__syncthreads();\n        const u32 of", "const u32 of"),
    bug(
        "the truth is scored after its masks are cleared",
        SAMPLING,
        "__syncthreads(); // the masks are about to change",
        "",
    ),
    bug(
        "a block's sum is added up before it is there",
        ["shared/reductions.cuh", "optimizer", "optimizer"],
        "    }\n    __syncthreads();\n    float total = 0.0f;\n    for (u32 w = 0; w < warps; ++w) {",
        "    }\n    float total = 0.0f;\n    for (u32 w = 0; w < warps; ++w) {",
    ),
    bug(
        "the second pass stages over what the first's threads read",
        STAGING_BACK,
        "        if (pass > 0) {\n            __syncthreads();\n        }\n",
        "",
    ),
    bug(
        "a product's next stage lands where others read",
        MAIN_LOOP_BACK,
        "(stage + AHEAD) % T::STAGES * T::STAGE_BYTES",
        "stage * T::STAGE_BYTES",
    )
    .times(2),
    bug(
        "partial rows are totalled before eighths are there",
        EMBED,
        "        eighths[warp][lane + i * WARP] = sum[i];\n    }\n    __syncthreads();",
        "        eighths[warp][lane + i * WARP] = sum[i];\n    }",
    ),
];

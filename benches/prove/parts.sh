# shellcheck shell=bash
# shellcheck disable=SC2154 # The variables below come from the script.
# The parts of `./prove-gpu run`, which sources this. Each is a function `part_KIND`, called in a process of its own with
# the rest of the part's name; its output is the part's log. A line that begins with `= ` is what the summary tells of it.
#
# From the run: $device, $tempest (the program), $bin (others beside it), $work (until the run ends), $results, $out,
# $runs, $extras (CUDA sources, a line each), $limit (the part's seconds), $log.

skip=77       # exit codes of a part that could not run,
unfinished=75 # and of one that goes on in the next call

# Name, seconds at most, and seconds that must be left for it to begin; worst news first.
parts() {
    cat <<'TABLE'
machine 20
devices 60
check_f16 90
check_bf16 90
golden_f16 30
golden_bf16 30
same_repeated 60
same_sync 60
same_resumed 60
sample 60
eval 60
check_large 120
suite 150
san_memcheck 60
san_racecheck 60
time_train_f16 60
time_train_bf16 60
time_denoise_1 40
time_denoise_16 40
time_denoise_64 40
time_denoise_512 40
peers_train 200 60
peers_denoise 150 60
ncu 90
learn 300 150
bench_steps 80
bench_kernels 80
bench_cublaslt 60
san_synccheck 60
san_initcheck 60
nsys 60
jit 90
learn_original 300 150
TABLE
    local file
    while read -r file; do
        [[ -z $file ]] || printf 'extra_%s 150\n' "$(basename "$file" .cu)"
    done <<<"${extras-}"
}

rehearsal() { [[ ${device-} == vgpu ]]; }
note() { printf '= %s\n' "$*"; }
# note_last [REGEX]: the last line of the log so far that matches
note_last() { note "$(grep -aE "${1:-.}" "$log" | tail -1)"; }
skip() {
    note "$@"
    exit "$skip"
}
need() { command -v "$1" >/dev/null || skip "no $1"; }
not_virtual() { ! rehearsal || skip "a virtual GPU $1"; }

# figure NAME: the file for a part's figures, without those of an earlier call
figure() {
    rm -f "$results/figures/$1.json"
    printf '%s' "$results/figures/$1.json"
}

# on_device COMMAND ARGUMENTS...: tempest, on the device
on_device() { "$tempest" "$1" --device "$device" "${@:2}"; }

# A bench or test: of an archive, or the newest that cargo built.
program() {
    local found=$bin/$1
    [[ -x $found ]] || found=$(find "$bin/deps" -maxdepth 1 -name "${1#*-}-*" -type f -executable -printf '%T@ %p\n' 2>/dev/null |
        sort -n | tail -1 | cut -d' ' -f2-)
    [[ -x $found ]] || skip "no $1; an archive of ./prove-gpu pack has it"
    printf '%s' "$found"
}

# --- What is this machine? --------------------------------------------------------------------------------------------

part_machine() {
    local tool
    uname -srm
    nproc
    command -v lscpu >/dev/null && lscpu | grep 'Model name'
    ldconfig -p | grep -E 'libcuda\.so|ptxjit|cublasLt' || true
    env | grep -iE '^(CUDA|NV|LD_LIBRARY_PATH)' || true
    for tool in compute-sanitizer ncu nsys nvcc python3; do command -v $tool || echo "no $tool"; done
    if rehearsal; then
        note "$(uname -srm), $(nproc) cores"
        return
    fi
    need nvidia-smi
    nvidia-smi
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,compute_cap --format=csv,noheader,nounits \
        --id="$(gpu_number)" | tee "$results/figures/card.csv"
    note "$(head -1 "$results/figures/card.csv")"
}

gpu_number() { if [[ $device == cuda:* ]]; then echo "${device#*:}"; else echo 0; fi; }

part_devices() {
    if "$tempest" devices | tee "$work/devices"; then
        note "$(grep -m1 -E "^${device%%:*}" "$work/devices" || tail -1 "$work/devices")"
        # Without a card the command succeeds and says why there is none.
        rehearsal || ! grep -qE '^cuda +none' "$work/devices"
    else
        echo "and without LD_LIBRARY_PATH:"
        LD_LIBRARY_PATH='' "$tempest" devices
        return 1
    fi
}

# --- Is it right? -----------------------------------------------------------------------------------------------------

part_check() {
    local with=(--dtype "$1")
    case $1 in
        large)
            not_virtual 'takes too long for it'
            with=(--preset original --batch 64)
            ;;
        *) ! rehearsal || with+=(--preset nano --batch 1) ;;
    esac
    on_device check "${with[@]}" --force --json "$(figure "check_$1")"
    note_last
}

part_golden() {
    on_device check --dtype "$1" --against "$home/tests/data/golden/config_a" --force --json "$(figure "golden_$1")"
    note_last
}

# Arguments of a small run.
small=(--layers 2 --heads 2 --width 64 --positions 64 --batch 8 --accumulate 2 --steps 60 --checkpoint-every 20)
! rehearsal || small=(--layers 1 --heads 2 --width 16 --positions 16 --batch 2 --steps 9 --checkpoint-every 3)
small+=(--warmup 5 --eval-every 0 --eval-windows 2 --sample-every 0)

# The one that others are compared with.
first_run() {
    [[ -d $work/first ]] || { on_device train "${small[@]}" --out "$work/first.part" && mv "$work/first.part" "$work/first"; }
}

# A run that is killed between two checkpoints.
killed_run() {
    local pid at=27
    ! rehearsal || at=4
    "$tempest" train --device "$device" "${small[@]}" --out "$1" &
    pid=$!
    while kill -0 $pid 2>/dev/null && (($(cat "$1/metrics.jsonl" 2>/dev/null | wc -l) < at)); do sleep 0.01; done
    kill -KILL $pid && echo "killed" || echo "done before it was killed"
    wait $pid || true
}

part_same() {
    local file
    first_run
    case $1 in
        repeated) on_device train "${small[@]}" --out "$work/$1" ;;
        sync) on_device train "${small[@]}" --out "$work/$1" --sync ;;
        resumed)
            killed_run "$work/$1"
            on_device train --resume "$work/$1"
            ;;
    esac
    for file in state model; do cmp "$work/first/$file.safetensors" "$work/$1/$file.safetensors"; done
    note "the same bits"
}

# The same texts in any batch, with graphs or without.
part_sample() {
    local with i=0 length=64
    ! rehearsal || length=8
    first_run
    for with in '--batch 3' '--batch 1' '--batch 2' '--batch 3 --sync'; do
        # shellcheck disable=SC2086 # words
        on_device sample --run "$work/first" --length $length --texts 3 $with >"$work/texts.$i"
        cmp "$work/texts.0" "$work/texts.$i"
        i=$((i + 1))
    done
    cat "$work/texts.0"
    [[ -s $work/texts.0 ]] && note "the same texts four times"
}

part_eval() {
    local with=(--windows 16 --passes 1)
    ! rehearsal || with=(--windows 2 --passes 1 --steps 2 --duel-windows 0)
    first_run
    on_device eval --run "$work/first" "${with[@]}"
    note_last '^NELBO  '
}

# The project's tests on the card; planted bugs want the compiler.
part_suite() {
    local tests
    tests=$(program test-cuda) || skip "${tests#= }"
    export TEMPEST_TEST_ROOT=$home VGPU_LIBRARY=$bin/libvgpu.so
    [[ ! -d $bin/ptx ]] || export TEMPEST_TEST_KERNELS=$bin/ptx
    if rehearsal; then
        "$tests" --exact runs::five_steps_equal_the_originals
    else
        TEMPEST_TEST_GPU=real "$tests" --test-threads 4 --skip mutations
    fi
    note_last '^test result'
}

part_san() {
    need compute-sanitizer
    not_virtual 'checks every access by itself'
    compute-sanitizer --tool "$1" --print-limit 20 --error-exitcode 9 \
        "$tempest" check --device "$device" --preset nano --batch 1
    note_last SUMMARY
}

# --- How fast is it? --------------------------------------------------------------------------------------------------

part_time() {
    local with batch json
    json=$(figure "time_$1")
    case $1 in
        train_*) with=(--what train --dtype "${1#train_}") batch=64 ;;
        denoise_*) with=(--what denoise) batch=${1#denoise_} ;;
    esac
    if rehearsal; then
        first_run
        on_device profile "${with[@]}" --run "$work/first" --batch 1 --force --json "$json"
        note 'counted, not timed'
    else
        on_device profile "${with[@]}" --preset original --batch "$batch" --force --json "$json"
        note_last '^a whole step'
    fi
}

part_bench() {
    local bench
    bench=$(program "bench-$1") || skip "${bench#= }"
    not_virtual 'has no times'
    export CRITERION_HOME=$work/criterion TEMPEST_DEVICE=cuda
    "$bench" --bench --noplot
    note_last
}

# The same model in PyTorch on the same card.
part_peers() {
    local with=(--budget-s $((limit - 40)))
    need python3
    python3 -c 'import torch' || skip 'no PyTorch'
    ! rehearsal || with=(--smoke)
    python3 "$home/benches/peers/torch_steps.py" "$1" "${with[@]}" --json "$results/figures/peers_$1.json" \
        --ours "$results/figures/time_$1"*.json
    note_last
}

# --- Why? -------------------------------------------------------------------------------------------------------------

# Counters of one launch of each kernel that matters.
part_ncu() {
    local kernels='qkv_mma|linear_residual_mma|linear_relu2_mma|norm_linear_backward_mma|relu2_backward_mma'
    kernels+='|projection_backward_mma|attention_mma_bounded_d64|attention_backward_mma_fused_d64|head_loss_mma'
    kernels+='|weight_grads_mma|weight_grads_reduce|embed|embed_backward|embed_backward_reduce'
    kernels+='|adamw_step|grad_norm|corrupt|next_step'
    need ncu
    not_virtual 'has no counters of hardware'
    ncu --clock-control none --force-overwrite --export "$out/ncu" --section SpeedOfLight --section LaunchStats \
        --section Occupancy --section MemoryWorkloadAnalysis --section ComputeWorkloadAnalysis --section SchedulerStats \
        --section WarpStateStats --section SourceCounters --kernel-id "::regex:^($kernels)\$:2" \
        "$tempest" profile --sync --device "$device" --preset original --batch 64 --steps 1
    ncu --import "$out/ncu.ncu-rep" --page details --csv >"$results/figures/ncu.csv"
    # What each instruction waits for.
    ncu --import "$out/ncu.ncu-rep" --page source --csv >"$results/figures/ncu_source.csv" || true
    note ncu.ncu-rep
}

part_nsys() {
    need nsys
    not_virtual 'is not seen by it'
    nsys profile --force-overwrite true --output "$out/nsys" --trace cuda,nvtx --cuda-graph-trace node \
        "$tempest" train --device "$device" --nvtx --preset original --steps 50 --eval-every 0 --sample-every 0 --out "$work/nsys"
    note nsys.nsys-rep
}

# PTX that the driver compiles: what cards without machine code of their own get.
part_jit() {
    not_virtual 'always takes the PTX'
    CUDA_FORCE_PTX_JIT=1 CUDA_CACHE_DISABLE=1 on_device check --preset nano --batch 1
    note_last
}

# extra NAME: a CUDA source of --extra, compiled for the card and run
part_extra() {
    local file flags arch
    file=$(grep -E "(^|/)$1\.cu\$" <<<"$extras" | head -1)
    need nvcc
    not_virtual 'runs none but PTX'
    arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader --id="$(gpu_number)" | tr -d .)
    ((arch < 90)) || arch+=a
    read -ra flags < <(sed -n 's|^// nvcc:||p' "$file" | tr '\n' ' ')
    nvcc -O3 -std=c++17 -gencode "arch=compute_$arch,code=sm_$arch" -I "$(dirname "$file")" -I "$home/kernels" "${flags[@]}" \
        "$file" -o "$work/extra-$1"
    "$work/extra-$1"
    note_last
}

# --- Does it learn? ---------------------------------------------------------------------------------------------------

# learn | learn original: 10.8 M parameters on the text that is built in, our way or the original's
part_learn() {
    local name=learn way='--preset small --lr 1e-3' shape='--layers 6 --heads 6 --width 384 --positions 256 --batch 64'
    local schedule='--steps 20000 --checkpoint-every 1000 --eval-every 2000 --sample-every 5000' measured=() train rc=0
    [[ $1 != original ]] || name=learn_original way='--preset original' shape=''
    if rehearsal; then
        shape='--layers 1 --heads 2 --width 16 --positions 32 --batch 2'
        schedule='--steps 4 --eval-windows 2'
        measured=(--windows 2 --passes 1 --steps 2 --duel-windows 0)
    fi
    local folder=$runs/$name figures=$results/figures/$name
    read -ra train <<<"$way $shape $schedule"
    if [[ -f $folder/config.toml ]]; then train=(--resume "$folder"); else train+=(--out "$folder"); fi
    # Stopped in time for the last step, the checkpoint, and what comes after. By SIGTERM: what bash runs in its background
    # ignores SIGINT.
    SECONDS=0
    timeout --signal TERM $((limit - (limit > 80 ? 40 : limit / 2))) "$tempest" train --device "$device" "${train[@]}" || rc=$?
    echo "$SECONDS" >>"$folder/seconds"
    if ((rc == 124 || rc == 143)); then
        note "$(grep -c '"loss"' "$folder/metrics.jsonl") steps; given again with the same folders, it goes on"
        exit "$unfinished"
    fi
    ((rc == 0)) || return "$rc"
    awk '{ sum += $1 } END { print sum }' "$folder/seconds" >"$figures.seconds"
    cp "$folder/metrics.jsonl" "$figures.jsonl"
    on_device eval --run "$folder" "${measured[@]}" --json >"$figures.json"
    on_device sample --run "$folder" --texts 2 >"$figures.txt"
    note "$(grep -c '"loss"' "$figures.jsonl") steps in $(cat "$figures.seconds") s"
}

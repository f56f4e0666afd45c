#!/usr/bin/env bash
# Installs clients of other makers, which the tests drive against Dugnad: Python 3.11 or newer with its venv module (Debian: apt
# install python3-venv), Node.js 20 or newer with npm. Another Python: PYTHON=/path/to/python3. They go into clients/, or into the
# folder that is the first argument; tell the tests about it with DUGNAD_CLIENTS=FOLDER.
set -euo pipefail
cd "$(dirname "$0")"
folder="$(mkdir -p "${1:-.}" && cd "${1:-.}" && pwd)"

"${PYTHON:-python3}" -m venv "$folder/.venv"
"$folder/.venv/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt

if [ "$folder" != "$PWD" ]; then
  cp package.json ./*.py ./*.js "$folder/"
fi
cd "$folder"
npm install --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error
echo "the clients are ready in $folder"

#!/usr/bin/env bash
# Installs SoftHuBERT into its own virtual environment, .venv beside this file. If that is up to date, it does nothing.
# Stock fairseq 0.12.2 needs Python 3.8 to 3.10, and recent versions of pip cannot install it. So this script looks for such a Python
# (or uses 3.11 to 3.13 with fairseq-fixed) and installs the versions in constraints.txt with uv.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash install.sh [--extras demo,dev]

  --extras LIST    optional parts to install: any of demo, lm, transformers, slurm, lhotse, huggingface, dev,
                   separated by commas

  PYTHON           the Python to use, a path or a name (default: the first of 3.10, 3.9, 3.8, 3.12, 3.11, 3.13 that is on PATH or in
                   the folders of pyenv, uv and conda)
  SOFTHUBERT_VENV  the folder of the environment, new or existing (default: .venv in this folder)

example: PYTHON=python3.9 bash install.sh --extras dev
TEXT
}

say() { printf 'softhubert: %s\n' "$*"; }
# Status 2: the machine or the command line must be changed first. Status 1: something failed that should have worked.
refuse() { printf 'softhubert: error: %s\n' "$*" >&2; exit 2; }
give_up() { printf 'softhubert: error: %s\n' "$*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

extras=''
while [ $# -gt 0 ]; do
    case $1 in
        --extras) [ $# -ge 2 ] || refuse "--extras needs a list, such as --extras demo,dev"; extras=$2; shift 2 ;;
        --extras=*) extras=${1#--extras=}; shift ;;
        -h | --help) usage; exit 0 ;;
        *) refuse "unknown argument '$1'; bash install.sh --help lists the arguments" ;;
    esac
done
extras=${extras//,/ }
for extra in $extras; do
    case $extra in
        demo | lm | transformers | slurm | lhotse | huggingface | dev) ;;
        *) refuse "unknown extra '$extra'; expected demo, lm, transformers, slurm, lhotse, huggingface or dev" ;;
    esac
done

venv=${SOFTHUBERT_VENV:-$here/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
# The stamp is written before anything is installed and again at the very end. So it shows if an earlier run was interrupted.
stamp=$venv/.softhubert-install
log=$venv/.softhubert-install.log

# Two runs at the same time (for example, of an example and the tests) would undo each other's work. So the second one waits.
if command -v flock >/dev/null 2>&1; then
    exec 9<"$here"
    if ! flock -n 9; then
        say "waiting for another install.sh in this folder"
        flock 9
    fi
fi

# Every candidate Python runs this itself, whatever its version. It prints "ok VERSION PREFIX", or "no REASON" if it cannot be used.
examine=$(cat <<'PY'
import os, sys

def finish(text):
    print(text)
    sys.exit(0)

version = "%d.%d" % sys.version_info[:2]
if not (3, 8) <= sys.version_info[:2] <= (3, 13):
    finish("no it is Python %s, and SoftHuBERT needs Python 3.8 to 3.13" % version)
import platform, shlex, subprocess, sysconfig
if platform.python_implementation() != "CPython" or sys.maxsize < 2**32:
    finish("no it is %s (%s), and torch needs a 64-bit CPython" % (platform.python_implementation(), platform.architecture()[0]))
have_uv, extras = sys.argv[1] == "uv", sys.argv[2].split()
if not have_uv:
    try:
        import ensurepip, venv
    except ImportError:
        finish("no it lacks the venv module; install it (Debian, Ubuntu: apt-get install python%s-venv) or uv (pip install uv)" % version)
# What must be built, because the package index has no wheel: fairseq 0.12.2 has one for 3.8, fairseq-fixed and editdistance for 3.12,
# kenlm has none.
common = sys.platform == "linux" and platform.machine() == "x86_64"
built = []
if not (common and version in ("3.8", "3.12")):
    built.append("fairseq")
if version == "3.13":
    built.append("editdistance")
if "lm" in extras:
    built.append("kenlm")
if built:
    what = " and ".join(built)
    include = sysconfig.get_paths()["include"]
    for variable, language, header, names in (("CC", "c", "stdio.h", "cc"), ("CXX", "c++", "vector", "c++")):
        command = os.environ.get(variable) or sysconfig.get_config_var(variable) or names
        for header, remedy in (
            (header, "no working %s compiler ('%s'); install one (Debian, Ubuntu: apt-get install g++) or name it in %s"
             % (language.upper(), command, variable)),
            ("Python.h", "no Python.h; install it (Debian, Ubuntu: apt-get install python%s-dev)" % version),
        ):
            try:
                compiler = subprocess.Popen(shlex.split(command) + ["-x", language, "-fsyntax-only", "-I", include, "-"],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                compiler.communicate(("#include <%s>\n" % header).encode())
                works = compiler.returncode == 0
            except OSError:
                works = False
            if not works:
                finish("no %s must be built from source on Python %s, but there is %s" % (what, version, remedy))
finish("ok %s %s" % (version, sys.base_prefix))
PY
)

uv_on_path=$(type -P uv || true)
"${uv_on_path:-false}" --version >/dev/null 2>&1 || uv_on_path='' # it may be a shim without a uv behind it
export UV_PYTHON_DOWNLOADS=never
# uv also uses pip's settings for a mirror and for the certificate of a proxy.
if [ -n "${PIP_CERT:-}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then export SSL_CERT_FILE=$PIP_CERT; fi
if [ -n "${PIP_INDEX_URL:-}" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX=$PIP_INDEX_URL; fi
# The verdict of a candidate on itself. A program that is not a Python, such as a pyenv shim or /bin/false, prints nothing.
verdict_of() { "$1" -c "$examine" "${uv_on_path:+uv}" "$extras" </dev/null 2>/dev/null | tail -n 1 || true; }

# Prints every place where a Python of this version may be, one path per line.
candidates() {
    local version=$1 root name
    type -ap "python$version" python3 python || true
    for root in "${PYENV_ROOT:-}" "${HOME:-}/.pyenv"; do
        printf '%s\n' "$root/versions/$version"*/bin/"python$version"
    done
    if [ -n "$uv_on_path" ]; then
        "$uv_on_path" python find --no-project "$version" 2>/dev/null || true
    fi
    for root in "${CONDA_PREFIX:-}" "${CONDA_EXE:+${CONDA_EXE%/*/*}}" "${HOME:-}"/{miniconda3,anaconda3,miniforge3,mambaforge} /opt/conda; do
        [ -n "$root" ] || continue
        for name in "$root/bin" "$root"/envs/*/bin; do
            printf '%s\n' "$name/python$version"
        done
    done
}

python='' python_version='' python_prefix=''
accept() { # accept PATH VERDICT
    python=$1
    read -r _ python_version python_prefix <<<"$2"
}

choose_python() {
    local version candidate verdict reason=''
    if [ -n "${PYTHON:-}" ]; then
        candidate=$(type -P "$PYTHON" || true)
        [ -n "$candidate" ] || refuse "PYTHON=$PYTHON: no such program; set PYTHON to a Python 3.8 to 3.13, or unset it"
        verdict=$(verdict_of "$candidate")
        case $verdict in
            "ok "*) accept "$candidate" "$verdict"; return ;;
            "no "*) refuse "PYTHON=$PYTHON: ${verdict#no }" ;;
            *) refuse "PYTHON=$PYTHON: it does not run as a Python; set PYTHON to a Python 3.8 to 3.13, or unset it" ;;
        esac
    fi
    # 3.12 comes before 3.11, because nothing must be built from source for it.
    for version in 3.10 3.9 3.8 3.12 3.11 3.13; do
        while IFS= read -r candidate; do
            [ -x "$candidate" ] || continue
            verdict=$(verdict_of "$candidate")
            case $verdict in
                "ok $version "*) accept "$candidate" "$verdict"; return ;;
                "no it is Python"*) ;;
                "no "*) reason=${reason:-$candidate: ${verdict#no }} ;;
            esac
        done < <(candidates "$version" | awk '!seen[$0]++')
    done
    refuse "${reason:-no Python 3.8 to 3.13 on PATH or in the folders of pyenv, uv and conda; install Python 3.10 (for example: uv python install 3.10) or name one: PYTHON=/path/to/python3.10 bash install.sh}"
}

# Prints two fingerprints: one of the files that decide the dependencies, one of the files that decide the installed plugin.
fingerprints() { # fingerprints PYTHON
    "$1" -I -S - "$here" <<'PY'
import hashlib, os, sys

def fingerprint(*names):
    digest = hashlib.sha256()
    for name in names:
        top = os.path.join(sys.argv[1], name)
        files = [top] if os.path.isfile(top) else [
            os.path.join(folder, file) for folder, _, found in os.walk(top) if os.path.basename(folder) != "__pycache__" for file in found]
        for path in sorted(files):
            with open(path, "rb") as stream:
                content = hashlib.sha256(stream.read()).hexdigest()
            digest.update(("%s\0%s\0" % (os.path.relpath(path, sys.argv[1]), content)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()

print(fingerprint("constraints.txt", "setup.py"), fingerprint("softhubert_plugin", "config", "manifests", "setup.py"))
PY
}

write_stamp() { # write_stamp STATE
    {
        printf 'state %s\nowner %s\npython %s %s\nextras %s\n' "$1" "$owner" "$python_version" "$python_prefix" "$extras"
        [ "$1" != finished ] || printf 'dependencies %s\nplugin %s\n' "$dependencies_now" "$plugin_now"
    } >"$stamp.new"
    mv -f "$stamp.new" "$stamp"
}

# Runs a step of the installation. In a terminal, its output is shown, because uv draws its progress. Otherwise only failures are.
step() {
    if [ -t 2 ]; then
        "$@"
    else
        "$@" >"$log" 2>&1 || { tail -n 25 "$log" >&2; return 1; }
    fi
}

# If Python is set to write no bytecode, every command would compile its imports again, which takes seconds. So compile them now.
bytecode=(${PYTHONDONTWRITEBYTECODE:+--compile-bytecode})

uv_install() {
    step "$venv/bin/uv" pip install ${bytecode[@]+"${bytecode[@]}"} --python "$venv/bin/python" --constraints "$here/constraints.txt" --build-constraints "$here/constraints.txt" "$@"
}

check_room() {
    # Measured: 5.5 GB on Python 3.10 and later with every extra, 5.7 GB on 3.8 and 7.4 GB on 3.9 with demo and dev.
    local complaint needed=6
    case $python_version in 3.8 | 3.9) needed=8 ;; esac
    complaint=$("$python" -I - "$needed" "$venv" "${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/uv}" <<'PY'
import os, shutil, sys

for path in sys.argv[2:]:  # uv unpacks into its cache and links from there. If the cache is on another disk, both need room.
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    if not os.access(path, os.W_OK):
        print("%s: cannot be written; choose another folder with SOFTHUBERT_VENV and UV_CACHE_DIR" % path)
        break
    free = shutil.disk_usage(path).free / 1e9
    if free < float(sys.argv[1]):
        print("%s: %.1f GB are free, but about %s GB are needed; free some, or choose another disk with SOFTHUBERT_VENV and UV_CACHE_DIR"
              % (path, free, sys.argv[1]))
        break
PY
    )
    [ -z "$complaint" ] || refuse "$complaint"
}

make_environment() {
    mkdir -p "$venv" 2>/dev/null || refuse "$venv: cannot be written; choose another folder with SOFTHUBERT_VENV"
    say "making $venv with Python $python_version ($python)"
    write_stamp making
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        step "$python" -m venv --prompt softhubert "$venv" || give_up "$python -m venv failed; the end of its output is above"
    else
        step "$uv_on_path" venv --allow-existing --python "$python" "$venv" || give_up "uv venv failed; the end of its output is above"
    fi
}

# Installs the uv of constraints.txt into the environment itself, with the uv or pip that is available.
bring_uv() {
    local wanted
    wanted=$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' "$here/constraints.txt")
    [ "$("$venv/bin/uv" --version 2>/dev/null | awk '{print $1 "==" $2}')" != "$wanted" ] || return 0
    say "fetching ${wanted/==/ }"
    if [ -n "$uv_on_path" ]; then
        step "$uv_on_path" pip install --python "$venv/bin/python" "$wanted" ||
            give_up "$wanted could not be installed; the end of uv's output is above"
        return
    fi
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || step "$venv/bin/python" -m ensurepip || refuse "$venv: it has neither pip nor uv; install uv (pip install uv)"
    # PIP_USER=0, because a configuration that installs for the user by default would fail inside an environment.
    PIP_USER=0 step "$venv/bin/python" -m pip install --disable-pip-version-check "$wanted" ||
        give_up "$wanted could not be installed; the end of pip's output is above (can this machine reach a package index?)"
}

# Copies the sources of the plugin. Building in the clone would leave a build folder there, and later builds would use its stale modules.
copy_sources() {
    rm -rf "$venv/.softhubert-sources"
    mkdir "$venv/.softhubert-sources"
    local name
    for name in setup.py pyproject.toml README.md LICENSE softhubert_plugin config; do
        [ ! -e "$here/$name" ] || cp -R "$here/$name" "$venv/.softhubert-sources/"
    done
}

install_dependencies() {
    local extra flags=(${repair:+"$repair"})
    for extra in $extras; do flags+=(--extra "$extra"); done
    say "installing the packages in constraints.txt${extras:+ (with $extras)}; the first time, this takes gigabytes and some minutes"
    case $python_version in
        3.8 | 3.9 | 3.10) ;; # stock fairseq must be built in isolation: beside torch, it would build an extension whose source is missing
        *) # fairseq-fixed needs torch while it is built: use the one installed here, not a second download
            uv_install torch numpy cython ninja setuptools wheel || give_up "torch could not be installed; the end of uv's output is above"
            flags+=(--no-build-isolation-package fairseq-fixed)
            ;;
    esac
    uv_install -r "$venv/.softhubert-sources/setup.py" ${flags[@]+"${flags[@]}"} ||
        give_up "the dependencies could not be installed; the end of uv's output is above (can this machine reach a package index?)"
}

# The installation is not editable: fairseq looks for the user directory "softhubert_plugin" beside its own package, so it must be there.
install_plugin() {
    say "installing the plugin from $here"
    uv_install --no-deps --reinstall-package softhubert "$venv/.softhubert-sources" ||
        give_up "the plugin could not be installed; the end of uv's output is above"
    rm -rf "$venv/.softhubert-sources"
}

check_imports() {
    "$venv/bin/python" -W ignore -c 'import torch, torchaudio, npy_append_array, fairseq.models.hubert, softhubert_plugin' >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        give_up "$venv: everything is installed, but importing it fails; run '$venv/bin/softhubert doctor', which may show why"
    }
}

# The state that earlier runs left. "making": the environment was never complete, so nothing in it is trusted. "updating": it was complete
# once, but a change of its packages was interrupted. "finished": it is complete.
state='' owner=ours dependencies='' plugin='' installed='' recorded=''
if [ -f "$stamp" ]; then
    while read -r key value; do
        case $key in
            state) state=$value ;;
            owner) owner=$value ;;
            dependencies) dependencies=$value ;;
            plugin) plugin=$value ;;
            extras) installed=$value ;;
            python) recorded=$value ;;
        esac
    done <"$stamp"
elif [ -e "$venv/pyvenv.cfg" ]; then
    owner=user
fi

repair=''

[ -z "${PYTHON:-}" ] || choose_python

if [ "$owner" = user ]; then
    # The user made this environment. It is used as it is and never removed.
    verdict=$(verdict_of "$venv/bin/python")
    case $verdict in
        "ok "*) ;;
        "no "*) refuse "$venv/bin/python: ${verdict#no }" ;;
        *) refuse "$venv: its Python does not run; remove that folder and run this again" ;;
    esac
    [ -z "$python" ] || [ "ok $python_version $python_prefix" = "$verdict" ] ||
        refuse "PYTHON=$PYTHON: $venv was made with another Python; unset PYTHON, or choose another folder with SOFTHUBERT_VENV"
    accept "$venv/bin/python" "$verdict"
    if [ -z "$state" ]; then
        say "installing into the existing environment $venv"
        check_room
    fi
else
    remake=''
    case $state in
        '') ;;
        making) remake="an earlier run left it unfinished" ;;
        *)
            if ! "$venv/bin/python" -c '' >/dev/null 2>&1; then
                remake="its Python is gone"
            elif [ -n "$python" ] && [ "$recorded" != "$python_version $python_prefix" ]; then
                remake="it was made with Python ${recorded/ / of }"
            fi
            ;;
    esac
    if [ -n "$remake" ]; then
        say "making $venv again: $remake"
        rm -rf "$venv"
        state='' installed=''
    fi
    if [ -z "$state" ]; then
        [ -z "$(ls -A "$venv" 2>/dev/null)" ] ||
            refuse "$venv: it exists and is not a virtual environment; remove it, or choose another folder with SOFTHUBERT_VENV"
        [ -n "$python" ] || choose_python
        check_room
        make_environment
    else
        read -r python_version python_prefix <<<"$recorded"
    fi
fi

# Extras that were installed before stay, so asking for fewer extras changes nothing.
extras=$(printf '%s %s' "$extras" "$installed" | tr -s ' ' '\n' | sort -u | tr '\n' ' ' | sed 's/^ *//; s/ *$//')
read -r dependencies_now plugin_now <<<"$(fingerprints "$venv/bin/python")"

if [ "$state" = finished ] && [ "$dependencies $installed" = "$dependencies_now $extras" ]; then
    if [ "$plugin" = "$plugin_now" ]; then
        say "$venv is up to date"
        exit 0
    fi
    copy_sources
    install_plugin
else
    case $state in
        finished) write_stamp updating ;;
        updating) repair=--reinstall ;; # a package may be only half replaced
        *) write_stamp making ;;
    esac
    bring_uv
    copy_sources
    install_dependencies
    install_plugin
    check_imports
fi
write_stamp finished
say "done; to use it: source $(printf %q "$venv/bin/activate")"

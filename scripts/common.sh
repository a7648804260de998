# What the set-up scripts have in common; they source it.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() {
  printf "${0##*/}: %s\n" "$@" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    sudo "$@"
  else
    fail "cannot run '$*': that needs root." "Run it yourself as root, or '${0##*/}' where sudo works, then try again."
  fi
}

# Installs these packages, called by Debian's names, if there are any.
install_by_apt() {
  [ $# -gt 0 ] || return 0
  command -v apt-get >/dev/null ||
    fail "missing: $* (Debian's names), and there is no apt-get here." "Install them with this system's package manager, then try again."
  say "installing by apt: $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" </dev/null >&2
}

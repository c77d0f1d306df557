package ci_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// setup runs the script where only the commands named exist, beside those of the shell.
func setup(t *testing.T, commands map[string]string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	bin := t.TempDir()
	for _, tool := range []string{"sh", "mktemp", "rm", "cat", "env"} {
		path, err := exec.LookPath(tool)
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.IsNil(os.Symlink(path, filepath.Join(bin, tool))))
	}
	for name, text := range commands {
		qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755)))
	}
	var out, errs strings.Builder
	cmd := exec.Command("./setup", args...)
	cmd.Env = []string{"PATH=" + bin, "SBIN_FOLDERS=", "KEYRING=/dev/null", "LOG=" + filepath.Join(bin, "log"), "TMPDIR=" + bin}
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the exit status is what counts
	temporary, err := filepath.Glob(filepath.Join(bin, "tmp.*"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(temporary, 0))
	log, _ := os.ReadFile(filepath.Join(bin, "log"))
	return out.String() + string(log), errs.String(), cmd.ProcessState.ExitCode()
}

func TestSetup(t *testing.T) {
	const (
		root = "echo 0"
		user = "echo 1000"
		log  = `echo "${0##*/} $*" >>"$LOG"`
	)
	all := map[string]string{"qemu-system-x86_64": "", "nft": "", "iptables-legacy-restore": "", "ip": "", "depmod": ""}
	with := func(more ...string) map[string]string {
		out := map[string]string{}
		for k, v := range all {
			out[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	without := func(commands map[string]string, names ...string) map[string]string {
		for _, n := range names {
			delete(commands, n)
		}
		return commands
	}
	const install = "install --yes --no-install-recommends -o DPkg::Lock::Timeout=300"
	for name, test := range map[string]struct {
		commands       map[string]string
		args           []string
		stdout, stderr string
		code           int
	}{
		"all there":             {commands: with("apt-get", log)},
		"all there without apt": {commands: all},
		"missing": {
			commands: without(with("apt-get", log, "id", root), "nft", "depmod"),
			stdout:   "ci/setup: installing nftables kmod\napt-get " + install + " nftables kmod\n",
		},
		"missing, as a user": {
			commands: without(with("apt-get", log, "id", user, "sudo", `echo sudo >>"$LOG"; exec "$@"`), "depmod"),
			stdout:   "ci/setup: installing kmod\nsudo\napt-get " + install + " kmod\n",
		},
		"missing, as a user without sudo": {
			commands: without(with("apt-get", log, "id", user), "ip"),
			stderr: "ci/setup: neither root nor sudo is at hand; as root, run: " +
				"apt-get install --no-install-recommends iproute2\n",
			code: 1,
		},
		"lists are old": {
			commands: without(with("apt-get", log+`
case "$1" in update) touch "$LOG.updated" ;; *) [ -e "$LOG.updated" ] ;; esac`, "id", root, "touch", "/usr/bin/touch \"$@\""), "depmod"),
			stdout: "ci/setup: installing kmod\napt-get " + install + " kmod\napt-get update\napt-get " + install + " kmod\n",
		},
		"apt fails": {
			commands: without(with("apt-get", "echo E: no space; exit 100", "id", root), "depmod"),
			stdout:   "ci/setup: installing kmod\n",
			stderr:   "E: no space\nci/setup: apt-get could not install kmod; its words are above\n",
			code:     1,
		},
		"another distribution": {
			commands: without(with(), "qemu-system-x86_64", "depmod"),
			stderr: "ci/setup: there is no apt-get here; install what these packages of Debian bring, then try again: " +
				"qemu-system-x86 kmod\n",
			code: 1,
		},
		"unknown word": {commands: all, args: []string{"--everything"}, stderr: "usage: ci/setup [--generate]\n", code: 2},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := setup(t, test.commands, test.args...)
			qt.Check(t, qt.Equals(stdout, test.stdout))
			qt.Check(t, qt.Equals(stderr, test.stderr))
			qt.Check(t, qt.Equals(code, test.code))
		})
	}
}

func TestSetupGenerate(t *testing.T) {
	commands := map[string]string{
		"qemu-system-x86_64": "", "nft": "", "iptables-legacy-restore": "", "ip": "", "depmod": "",
		"apt-get": `echo "$*" >>"$LOG"`, "id": "echo 0",
	}
	stdout, _, code := setup(t, commands, "--generate")
	qt.Check(t, qt.Equals(code, 0))
	words := strings.Fields(stdout)
	qt.Check(t, qt.IsTrue(slices.Contains(words, "clang") && slices.Contains(words, "llvm")), qt.Commentf("%s", stdout))
}

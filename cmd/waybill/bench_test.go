package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/u-root/u-root/pkg/cpio"
	"golang.org/x/sys/unix"
)

// bareInit is a first process that does nothing but power off.
const bareInit = `package main

import "syscall"

func main() { _ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF) }
`

// BenchmarkTrue compares waybill vm -- /bin/true with the same kernel booted by hand with an init that only powers off: the
// image as its package has it, the same machine, emulated. The ratio is x-by-hand; the target is 1.25.
func BenchmarkTrue(b *testing.B) {
	if err := noVM(); err != nil {
		b.Skip(err)
	}
	dir := b.TempDir()
	command := filepath.Join(dir, "waybill")
	compile(b, command, ".")
	store, err := kernelStore()
	qt.Assert(b, qt.IsNil(err))
	k, err := store.Get(b.Context(), defaultKernel)
	qt.Assert(b, qt.IsNil(err))
	byHand := []string{
		"qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max,-cx16", "-smp", "2",
		"-m", "2048", "-nic", "none", "-nographic", "-no-reboot", "-kernel", k.Image, "-initrd", bareInitramfs(b, dir),
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off",
	}
	ours := []string{command, "vm", "--accel", "tcg", "--", "/bin/true"}
	measure(b, ours) // fills the cache
	var mine, theirs []time.Duration
	for b.Loop() {
		// In turns, so that a busy machine is as busy for both.
		theirs = append(theirs, measure(b, byHand))
		mine = append(mine, measure(b, ours))
	}
	b.ReportMetric(median(mine).Seconds(), "s/run")
	b.ReportMetric(median(theirs).Seconds(), "s/by-hand")
	b.ReportMetric(median(mine).Seconds()/median(theirs).Seconds(), "x-by-hand")
	b.ReportMetric(0, "ns/op")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func measure(b *testing.B, args []string) time.Duration {
	b.Helper()
	start := time.Now()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	took := time.Since(start)
	qt.Assert(b, qt.IsNil(err), qt.Commentf("%s", out))
	if bytes.Contains(out, []byte("other VMs")) {
		b.Fatal("another VM ran meanwhile: the measurement is worth nothing")
	}
	return took
}

func compile(b *testing.B, to, what string) {
	b.Helper()
	cmd := exec.Command("go", "build", "-o", to, what)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	qt.Assert(b, qt.IsNil(err), qt.Commentf("%s", out))
}

// bareInitramfs writes an initramfs with nothing but the bare init.
func bareInitramfs(b *testing.B, dir string) string {
	b.Helper()
	source, program := filepath.Join(dir, "init.go"), filepath.Join(dir, "init")
	qt.Assert(b, qt.IsNil(os.WriteFile(source, []byte(bareInit), 0o644)))
	compile(b, program, source)
	text, err := os.ReadFile(program)
	qt.Assert(b, qt.IsNil(err))
	var archive bytes.Buffer
	w := cpio.Newc.Writer(&archive)
	qt.Assert(b, qt.IsNil(cpio.WriteRecords(w, []cpio.Record{
		cpio.Directory("dev", 0o755), cpio.CharDev("dev/console", 0o600, 5, 1), cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.StaticFile("init", string(text), 0o755|unix.S_IFREG), cpio.TrailerRecord,
	})))
	name := filepath.Join(dir, "initramfs")
	qt.Assert(b, qt.IsNil(os.WriteFile(name, archive.Bytes(), 0o644)))
	return name
}

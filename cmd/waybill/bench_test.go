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
// image as its package has it, the same machine, emulated. The target is 1.25 times a boot by hand with the same line, as
// x-by-hand says, and x-by-hand-cpu of the time that CPUs were busy; x-by-hand-smp is the ratio to one with a thread for each emulated CPU, under which kernels may die when
// probes are attached (see qemuArgs in vm).
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
	initramfs := bareInitramfs(b, dir)
	byHand := func(threads string) []string {
		return []string{
			"qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=" + threads + ",tb-size=1024", "-cpu", "max,-cx16,-erms,-fsrm", "-smp", "2",
			"-m", "2048", "-nic", "none", "-nographic", "-no-reboot", "-kernel", k.Image, "-initrd", initramfs,
			"-append", "console=ttyS0 quiet panic=-1 mitigations=off",
		}
	}
	ours := []string{command, "vm", "--accel", "tcg", "--", "/bin/true"}
	new(times).measure(b, ours) // fills the cache
	var mine, theirs, smp times
	for b.Loop() {
		// In turns, so that a busy machine is as busy for all.
		theirs.measure(b, byHand("single"))
		mine.measure(b, ours)
		smp.measure(b, byHand("multi"))
	}
	b.ReportMetric(median(mine.cpu)/median(theirs.cpu), "x-by-hand-cpu")
	if mine.waited {
		b.Log("another VM ran meanwhile: only times of CPUs are worth something")
	} else {
		b.ReportMetric(median(mine.wall), "s/run")
		b.ReportMetric(median(theirs.wall), "s/by-hand")
		b.ReportMetric(median(smp.wall), "s/by-hand-smp")
		b.ReportMetric(median(mine.wall)/median(theirs.wall), "x-by-hand")
		b.ReportMetric(median(mine.wall)/median(smp.wall), "x-by-hand-smp")
	}
	b.ReportMetric(0, "ns/op")
}

// times are those of one command, in seconds.
type times struct {
	wall, cpu []float64
	waited    bool // for other VMs to end
}

func median(d []float64) float64 {
	slices.Sort(d)
	return d[len(d)/2]
}

func (t *times) measure(b *testing.B, args []string) {
	b.Helper()
	start := time.Now()
	cmd := exec.Command(args[0], args[1:]...)
	out, err := cmd.CombinedOutput()
	qt.Assert(b, qt.IsNil(err), qt.Commentf("%s", out))
	t.wall = append(t.wall, time.Since(start).Seconds())
	t.cpu = append(t.cpu, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	t.waited = t.waited || bytes.Contains(out, []byte("other VMs"))
}

func compile(b *testing.B, to, what string) {
	b.Helper()
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", to, what)
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

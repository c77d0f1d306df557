package vm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/vm"
	"github.com/waybill-dev/waybill/vm/kernel"
)

// roleVariable makes the test's executable play a role: that of a program in the guest, or of a process on the host
// that is killed.
const roleVariable = "WAYBILL_TEST_ROLE"

func TestMain(m *testing.M) {
	vm.GuestMain()
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	os.Exit(m.Run())
}

// report is what the program in the guest sees.
type report struct {
	Args     []string
	Env      []string
	Dir      string
	Release  string
	File     string // content of /data/file
	Mounts   []string
	Loopback bool
	Modules  string // /proc/modules
	OnDemand string // what socket(AF_VSOCK) said
	Modprobe string // /proc/modules after that
}

// stderrBytes is how much the reporting program writes to its standard error: more than any buffer on the way holds.
const stderrBytes = 3 << 20

func play(role string) int {
	switch role {
	case "report":
		_, _ = io.CopyN(os.Stderr, zeros{}, stderrBytes)
		if err := json.NewEncoder(os.Stdout).Encode(look()); err != nil {
			return 1
		}
		return 7
	case "signal":
		got := make(chan os.Signal, 1)
		signal.Notify(got, syscall.SIGUSR1)
		fmt.Println("ready")
		fmt.Println(<-got)
		signal.Reset()
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		select {}
	case "hang":
		if dir := os.Getenv("WAYBILL_ARTIFACTS"); dir != "" {
			if err := os.WriteFile(dir+"/result", []byte("content"), 0o644); err != nil {
				return 1
			}
		}
		fmt.Println("ready")
		// Not an empty select: the runtime would call it a deadlock.
		_ = unix.Pause()
		return 0
	case "artifacts": // what it writes comes back though it dies of a signal
		if err := os.WriteFile(os.Getenv("WAYBILL_ARTIFACTS")+"/result", []byte("content"), 0o644); err != nil {
			return 1
		}
		_, _ = io.Copy(os.Stdout, os.Stdin)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "stubborn": // it neither ends nor shows anything when it is asked to
		signal.Ignore(syscall.SIGINT, syscall.SIGQUIT)
		if err := os.WriteFile(os.Getenv("WAYBILL_ARTIFACTS")+"/result", []byte("content"), 0o644); err != nil {
			return 1
		}
		fmt.Println("ready")
		_ = unix.Pause()
		return 0
	case "count":
		fmt.Println(runtime.NumCPU(), nanosecondsPerTurn(), nanosecondsPerTurn(), nanosecondsPerTurn())
		return 0
	case "taint":
		const warned = "512" // TAINT_WARN
		if err := os.WriteFile("/proc/sys/kernel/tainted", []byte(warned), 0); err != nil {
			return 1
		}
		// A program's own words in the log are not the kernel's.
		_ = os.WriteFile("/dev/kmsg", []byte("<4>WARNING: not by the kernel"), 0)
		return 4
	case "lockup":
		if err := lockUp(); err != nil {
			fmt.Fprintf(os.Stderr, "%+v\n", err)
			return 1
		}
		return 0
	case "panic":
		if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		select {}
	case "parent":
		k, err := testKernel(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		_, err = vm.Run(context.Background(), vm.Config{
			Kernel: k, Program: self(), Env: []string{roleVariable + "=hang"}, Stdout: os.Stdout,
		})
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "unknown role %s\n", role)
	return 1
}

// turned keeps the compiler from doing away with a loop.
var turned int

// nanosecondsPerTurn times a loop that takes the same few instructions at each turn.
func nanosecondsPerTurn() float64 {
	const turns = 50_000_000
	start := time.Now()
	for i := range turns {
		turned += i
	}
	return float64(time.Since(start)) / turns
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func look() report {
	r := report{Args: os.Args[1:], Env: os.Environ()}
	r.Dir, _ = os.Getwd()
	r.Release = read("/proc/sys/kernel/osrelease")
	r.File = read("/data/file")
	for line := range strings.Lines(read("/proc/mounts")) {
		r.Mounts = append(r.Mounts, strings.Fields(line)[1])
	}
	if lo, err := net.InterfaceByName("lo"); err == nil {
		r.Loopback = lo.Flags&net.FlagUp != 0
	}
	r.Modules = read("/proc/modules")
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	r.OnDemand = fmt.Sprint(err)
	r.Modprobe = read("/proc/modules")
	return r
}

func read(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// testKernelName is the kernel that the tests boot.
const testKernelName = "6.12"

// testKernel returns a kernel to boot, if one is in the cache: tests download nothing.
func testKernel(ctx context.Context) (vm.Kernel, error) {
	store := kernel.Store{List: kernel.List{{Name: testKernelName}}}
	entries, err := store.Entries()
	if err != nil {
		return vm.Kernel{}, err
	}
	if !entries[0].Cached {
		return vm.Kernel{}, fmt.Errorf("kernel %s is not in the cache: run waybill kernel fetch %s", testKernelName,
			testKernelName)
	}
	return store.Get(ctx, testKernelName)
}

package leak

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/onsi/gomega/gleak"
	"golang.org/x/sys/unix"
)

// Snapshot is what is held at a moment.
type Snapshot struct {
	files      []string
	programs   map[ebpf.ProgramID]string
	goroutines []gleak.Goroutine
	taint      string
}

// Take looks at this process and at the kernel. Programs can be listed by root only, and are left out otherwise.
func Take() (Snapshot, error) {
	s := Snapshot{goroutines: gleak.Goroutines(), programs: make(map[ebpf.ProgramID]string)}
	var err error
	if s.files, err = openFiles(); err != nil {
		return s, err
	}
	taint, err := os.ReadFile("/proc/sys/kernel/tainted")
	if err != nil {
		return s, fmt.Errorf("read the kernel's taint: %w", err)
	}
	s.taint = strings.TrimSpace(string(taint))
	for id := ebpf.ProgramID(0); ; {
		id, err = ebpf.ProgramGetNextID(id)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return s, nil
		}
		if err != nil {
			return s, fmt.Errorf("list BPF programs: %w", err)
		}
		s.programs[id] = programName(id)
	}
}

// programName is the name that the program's maker gave it, if it still exists.
func programName(id ebpf.ProgramID) string {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return fmt.Sprintf("%d, just ending", id)
	}
	info, err := program.Info()
	if err := errors.Join(err, program.Close()); err != nil {
		return fmt.Sprintf("%d: %v", id, err)
	}
	return fmt.Sprintf("%d %s (%s)", id, info.Name, info.Type)
}

// openFiles names what this process's descriptors refer to. A network namespace is held by one of them.
func openFiles() ([]string, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("list open files: %w", err)
	}
	var files []string
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil {
			continue // the one by which the folder was read
		}
		// The runtime's own, opened when the first file is waited for.
		if target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]" {
			continue
		}
		files = append(files, target)
	}
	slices.Sort(files)
	return files, nil
}

// gracePeriods bounds the wait for what ends late.
const gracePeriods = 20

// Left takes another look and lists what is held now and was not held at the time of the snapshot, one line each; nil if
// there is nothing. The kernel lets go of programs only when no CPU can be running them any more, and a goroutine whose
// work is done still has its last steps to go: both are waited for.
func (s Snapshot) Left() ([]string, error) {
	for n := 0; ; n++ {
		now, err := Take()
		if err != nil {
			return nil, err
		}
		now.disregardOthers(s)
		left := now.since(s)
		ending := slices.ContainsFunc(left, func(l string) bool {
			return strings.HasPrefix(l, programPrefix) || strings.HasPrefix(l, goroutinesPrefix)
		})
		if !ending || n == gracePeriods {
			return left, nil
		}
		if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
			return nil, fmt.Errorf("wait for a grace period: %w", errno)
		}
	}
}

// disregardOthers leaves out new programs that another process holds: the tests of several packages run at once.
func (s Snapshot) disregardOthers(earlier Snapshot) {
	isNew := func(id ebpf.ProgramID) bool { _, known := earlier.programs[id]; return !known }
	if !slices.ContainsFunc(slices.Collect(maps.Keys(s.programs)), isNew) {
		return
	}
	own := fmt.Sprintf("/proc/%d/", os.Getpid())
	descriptors, _ := filepath.Glob("/proc/[0-9]*/fdinfo/*") // the pattern is well formed
	for _, file := range descriptors {
		if strings.HasPrefix(file, own) {
			continue
		}
		info, err := os.ReadFile(file)
		if err != nil {
			continue // closed, or its process has ended
		}
		for line := range strings.Lines(string(info)) {
			text, ok := strings.CutPrefix(line, "prog_id:")
			if id, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32); ok && err == nil && isNew(ebpf.ProgramID(id)) {
				delete(s.programs, ebpf.ProgramID(id))
			}
		}
	}
}

// membarrierGlobal waits for one grace period of RCU (MEMBARRIER_CMD_GLOBAL, include/uapi/linux/membarrier.h).
const membarrierGlobal = 1

const (
	programPrefix    = "BPF program "
	goroutinesPrefix = "goroutines: "
)

// since compares two snapshots.
func (s Snapshot) since(earlier Snapshot) []string {
	var left []string
	files := slices.Clone(earlier.files)
	for _, f := range s.files {
		if i := slices.Index(files, f); i >= 0 {
			files = slices.Delete(files, i, i+1)
			continue
		}
		left = append(left, "open file "+f)
	}
	for id, name := range s.programs {
		if _, ok := earlier.programs[id]; !ok {
			left = append(left, programPrefix+name)
		}
	}
	slices.Sort(left)
	matcher := gleak.HaveLeaked(earlier.goroutines)
	if leaked, err := matcher.Match(s.goroutines); err != nil {
		left = append(left, err.Error())
	} else if leaked {
		left = append(left, goroutinesPrefix+matcher.FailureMessage(s.goroutines))
	}
	if s.taint != earlier.taint {
		left = append(left, fmt.Sprintf("kernel taint %s, before it was %s", s.taint, earlier.taint))
	}
	return left
}

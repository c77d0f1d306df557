package named

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DownOptions is how a lab is taken down. The zero value takes it down if nobody is in it.
type DownOptions struct {
	// Kill kills the processes that run in its nodes.
	Kill bool
}

// Process is a process that runs in a node.
type Process struct {
	PID        int
	Name, Node string
}

// InUseError is the error of taking down a lab in which processes run: they would keep its namespaces.
type InUseError struct {
	Lab       string
	Processes []Process
}

// Error names them.
func (e *InUseError) Error() string {
	var list []string
	for _, p := range e.Processes {
		list = append(list, fmt.Sprintf("%s (%d) in %s", p.Name, p.PID, p.Node))
	}
	return fmt.Sprintf("lab %s is in use by %s: end what runs in it, or say --kill", e.Lab, strings.Join(list, ", "))
}

// Down takes the lab down, in whatever state it is. Nothing of it remains, unless it is in use.
func (l Lab) Down(ctx context.Context, options DownOptions) error {
	if os.Geteuid() != 0 {
		return errors.New("taking a lab down needs root: run it with sudo")
	}
	var lock *os.File
	err := registered(true, func() (err error) {
		lock, err = takeLock(l.Name)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return look(l.Name).usable()
		}
		if err == nil {
			l = look(l.Name) // as it is now that nobody else works on it
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("take down lab %s: %w", l.Name, err)
	}
	defer lock.Close()
	for {
		processes, err := l.processes()
		if err != nil {
			return fmt.Errorf("take down lab %s: %w", l.Name, err)
		}
		if len(processes) == 0 {
			break
		}
		if i := slices.IndexFunc(processes, func(p Process) bool { return p.PID == os.Getpid() }); i >= 0 {
			return fmt.Errorf("take down lab %s: this is run in its node %s: leave that first", l.Name, processes[i].Node)
		}
		if !options.Kill {
			return &InUseError{l.Name, processes}
		}
		for _, p := range processes { // which may have begun others meanwhile
			if err := kill(ctx, p.PID); err != nil {
				return fmt.Errorf("take down lab %s: kill %s (%d): %w", l.Name, p.Name, p.PID, err)
			}
		}
	}
	return remove(l.Name, l.Nodes)
}

// remove takes away what is there of a lab, its folder last.
func remove(name string, nodes []string) error {
	// What is left if this is cut short is an unfinished lab.
	if err := os.Remove(filepath.Join(folder(name), completeFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove lab %s: %w", name, err)
	}
	var faults []error
	for _, node := range nodes {
		path := namespace(name, node)
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			faults = append(faults, fmt.Errorf("let go of namespace %s.%s: %w", name, node, err))
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			faults = append(faults, fmt.Errorf("remove namespace %s.%s: %w", name, node, err))
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	return registered(true, func() error { return os.RemoveAll(folder(name)) })
}

// processes are those that run in the lab's nodes.
func (l Lab) processes() ([]Process, error) {
	type file struct{ dev, ino uint64 }
	nodes := make(map[file]string)
	for _, node := range l.Nodes {
		var stat unix.Stat_t
		if err := unix.Stat(namespace(l.Name, node), &stat); err == nil {
			nodes[file{stat.Dev, stat.Ino}] = node
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		var stat unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &stat) != nil {
			continue // it has ended
		}
		if node, ok := nodes[file{stat.Dev, stat.Ino}]; ok {
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			found = append(found, Process{pid, strings.TrimSpace(string(name)), node})
		}
	}
	return found, nil
}

// kill kills a process and waits for its end. One that has ended is none.
func kill(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	process := os.NewFile(uintptr(fd), "process")
	defer process.Close()
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
		if n == 1 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return context.Cause(ctx)
}

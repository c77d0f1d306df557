package collect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/nearest"
	"github.com/waybill-dev/waybill/internal/netns"
)

// namesDir is where ip netns has a file for each namespace that it has given a name.
const namesDir = "/run/netns"

// Namespace opens a network namespace by what names it: the name that ip netns has given it, a path with a slash in it, the number
// of a process that is in there, or its inode number, which is what events say. A name goes before a number, as in ip.
func Namespace(name string) (*netns.NS, error) {
	path, err := namespacePath(name)
	if err != nil {
		return nil, fmt.Errorf("network namespace %q: %w", name, err)
	}
	ns, err := netns.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace %q: %w", name, err)
	}
	return ns, nil
}

func namespacePath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	names, err := filepath.Glob(filepath.Join(namesDir, "*"))
	if err != nil {
		return "", err
	}
	for i, file := range names {
		if names[i] = filepath.Base(file); names[i] == name {
			return file, nil
		}
	}
	number, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		text := fmt.Sprintf("there is none of that name in %s, and it is no number of a process or an inode", namesDir)
		if similar := nearest.Names(name, slices.Values(names)); len(similar) > 0 {
			text += ": did you mean " + strings.Join(similar, " or ") + "?"
		}
		return "", errors.New(text)
	}
	ofProcess := fmt.Sprintf("/proc/%d/ns/net", number)
	if _, err := os.Lstat(ofProcess); err == nil {
		return ofProcess, nil
	}
	return byInode(number)
}

// byInode finds a namespace by a file that stands for it: those of processes, and those with names. Numbers of processes are lower
// than those of inodes (PID_MAX_LIMIT in include/linux/threads.h, PROC_DYNAMIC_FIRST in fs/proc/generic.c).
func byInode(number uint64) (string, error) {
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", filepath.Join(namesDir, "*")} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		for _, file := range files {
			var stat unix.Stat_t
			if err := unix.Stat(file, &stat); err != nil {
				continue // the process has ended
			}
			if stat.Ino == number {
				return file, nil
			}
		}
	}
	return "", fmt.Errorf("no process has that number, nor is there a network namespace with that inode that has a process or a name "+
		"in it: %w", fs.ErrNotExist)
}

// cookies are the cookies of namespaces, each once.
func cookies(names []string) (found []uint64, err error) {
	for _, name := range names {
		ns, err := Namespace(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(found, ns.Cookie()) {
			found = append(found, ns.Cookie())
		}
		if err := ns.Close(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

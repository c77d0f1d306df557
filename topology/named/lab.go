package named

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/nearest"
	"github.com/waybill-dev/waybill/topology"
)

// Where labs are written down, and where ip netns looks for namespaces. Both are in memory, as the labs themselves. Whoever
// makes, removes or looks at what is in the folder of labs holds the registry meanwhile.
const (
	labsFolder   = "/run/waybill/labs"
	registryFile = "/run/waybill/registry"
	netnsFolder  = "/run/netns"
)

// The files of a lab: lock is held by whoever builds it or takes it down, and has the number of that process; nodes are the
// names of its namespaces, network is the declaration, left tells what of that cannot be in a file, and complete is there when the
// lab is.
const (
	lockFile     = "lock"
	nodesFile    = "nodes"
	networkFile  = "network.yaml"
	leftFile     = "left"
	completeFile = "complete"
)

// Lab is a lab that is written down.
type Lab struct {
	Name  string
	State State
	// Nodes are the names of its nodes, in order.
	Nodes []string
	// Builder is the process that builds it or takes it down; 0 for none.
	Builder int
}

// State is how far a lab is.
type State string

// The states. Whoever built an unfinished one has died.
const (
	Complete   State = "up"
	Busy       State = "busy"
	Unfinished State = "unfinished"
)

// validName keeps names apart from folders and options.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// LongestName is how many bytes the name of a lab may have.
const LongestName = 63

// CheckName reports what is wrong with the name of a lab.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("%q is no name for a lab: give 1 to 63 letters, digits, hyphens and underscores, beginning with a letter "+
			"or digit", name)
	}
	return nil
}

// NameFor makes a name for a lab of a text, such as the name of a test.
func NameFor(text string) string {
	name := strings.Trim(noName.ReplaceAllString(text, "-"), "-_")
	if name == "" {
		return "lab"
	}
	return strings.TrimRight(name[:min(len(name), LongestName)], "-_")
}

var noName = regexp.MustCompile(`[^A-Za-z0-9_]+`)

func folder(name string) string { return filepath.Join(labsFolder, name) }

// namespace is the file that stands for a node.
func namespace(lab, node string) string { return filepath.Join(netnsFolder, lab+"."+node) }

// Namespace is the name by which ip netns knows a node of the lab.
func (l Lab) Namespace(node string) string { return l.Name + "." + node }

// registered calls f while nobody else changes what is written down, or, if f is going to change it, even looks at it. When
// there is no lab any more, nothing is left, the registry included.
func registered(change bool, f func() error) error {
	flags, how := os.O_RDONLY, unix.LOCK_SH
	if change {
		flags, how = os.O_RDWR|os.O_CREATE, unix.LOCK_EX
	}
	for {
		if change {
			if err := os.MkdirAll(labsFolder, 0o755); err != nil {
				return err
			}
		}
		registry, err := os.OpenFile(registryFile, flags, 0o644)
		if err != nil {
			return err
		}
		if err := unix.Flock(int(registry.Fd()), how); err != nil {
			return errors.Join(fmt.Errorf("lock %s: %w", registryFile, err), registry.Close())
		}
		if !current(registry) { // whoever held it before was the last one, and removed it
			_ = registry.Close()
			continue
		}
		err = f()
		if change && os.Remove(labsFolder) == nil { // it was empty
			err = errors.Join(err, os.Remove(registryFile))
			_ = os.Remove(filepath.Dir(registryFile))
		}
		return errors.Join(err, registry.Close())
	}
}

// current reports whether a file is still the one of its name.
func current(file *os.File) bool {
	here, err := os.Stat(file.Name())
	open, err2 := file.Stat()
	return err == nil && err2 == nil && os.SameFile(here, open)
}

// List returns all labs, by name.
func List() ([]Lab, error) {
	var labs []Lab
	err := registered(false, func() error {
		entries, err := os.ReadDir(labsFolder)
		for _, entry := range entries {
			if validName.MatchString(entry.Name()) {
				labs = append(labs, look(entry.Name()))
			}
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	return labs, nil
}

// look reads what is written down about a lab, while the registry is held.
func look(name string) Lab {
	l := Lab{Name: name, State: Unfinished}
	text, _ := os.ReadFile(filepath.Join(folder(name), nodesFile))
	l.Nodes = strings.Fields(string(text))
	if _, err := os.Stat(filepath.Join(folder(name), completeFile)); err == nil {
		l.State = Complete
	}
	lock, err := os.Open(filepath.Join(folder(name), lockFile))
	if err != nil {
		return l
	}
	defer lock.Close()
	if errors.Is(unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK) {
		l.State = Busy
		number := make([]byte, 16)
		n, _ := lock.ReadAt(number, 0)
		l.Builder, _ = strconv.Atoi(strings.TrimSpace(string(number[:n])))
	}
	return l
}

// Find returns the lab of a name, or the only one if the name is empty.
func Find(name string) (Lab, error) {
	labs, err := List()
	if err != nil {
		return Lab{}, err
	}
	byName := make(map[string]Lab)
	for _, l := range labs {
		byName[l.Name] = l
	}
	names := slices.Sorted(maps.Keys(byName))
	switch l, ok := byName[name]; {
	case ok:
		return l, nil
	case name != "":
		hint := ""
		if near := nearest.Names(name, slices.Values(names)); len(near) > 0 {
			hint = fmt.Sprintf("; did you mean %q?", near[0])
		} else if len(names) > 0 {
			hint = ": there are " + strings.Join(names, ", ")
		}
		return Lab{}, fmt.Errorf("there is no lab %q%s", name, hint)
	case len(names) == 0:
		return Lab{}, errors.New("no lab is up: build one with waybill lab up FILE")
	case len(names) > 1:
		return Lab{}, fmt.Errorf("there are several labs, %s: say which", strings.Join(names, ", "))
	}
	return byName[names[0]], nil
}

// usable reports why nothing can be done in the lab.
func (l Lab) usable() error {
	switch l.State {
	case Busy:
		return fmt.Errorf("lab %s is being built or taken down by process %d: wait for it", l.Name, l.Builder)
	case Unfinished:
		return fmt.Errorf("lab %s was begun and not finished: waybill lab down %s clears it away", l.Name, l.Name)
	}
	return nil
}

// Attach takes hold of the lab's network. Close what it returns; the lab lives on.
func (l Lab) Attach() (*topology.Running, error) {
	if err := l.usable(); err != nil {
		return nil, err
	}
	network, err := topology.ReadFile(filepath.Join(folder(l.Name), networkFile))
	if err != nil {
		return nil, err
	}
	return topology.Attach(network, func(node *topology.Node) string { return namespace(l.Name, node.Name) })
}

// Dump is [topology.Running.Dump] of the lab's network.
func (l Lab) Dump(ctx context.Context) (text string, err error) {
	if os.Geteuid() != 0 {
		return "", errors.New("dumping a lab needs root: run it with sudo")
	}
	running, err := l.Attach()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, running.Close()) }()
	if text, err = running.Dump(ctx); err != nil {
		return "", err
	}
	left, err := os.ReadFile(filepath.Join(folder(l.Name), leftFile))
	if err != nil {
		return "", fmt.Errorf("dump: %w", err)
	}
	for line := range strings.Lines(string(left)) {
		text += "# Not in this script: " + strings.TrimSpace(line) + "\n"
	}
	return text, nil
}

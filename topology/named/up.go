package named

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/topology"
)

// Up builds a lab of a network and gives it a name. If anything fails, or the context ends, nothing of it remains. It needs
// root.
func Up(ctx context.Context, name string, network *topology.Network) (Lab, error) {
	if err := CheckName(name); err != nil {
		return Lab{}, err
	}
	if err := network.Validate(); err != nil {
		return Lab{}, err
	}
	for i, node := range network.Nodes() {
		if len(node.Multicast) > 0 {
			return Lab{}, fmt.Errorf("Nodes[%d].Multicast: multicast routes last only as long as the process that made them: "+
				"leave them out", i)
		}
	}
	if os.Geteuid() != 0 {
		return Lab{}, errors.New("building a lab needs root: run it with sudo")
	}
	return create(name, network, func(pin func(*topology.Running) error) error {
		running, err := topology.Up(ctx, network)
		if err != nil {
			return err
		}
		return errors.Join(pin(running), running.Close())
	})
}

// Keep gives a running network a name, as if it had been built by [Up]: from then on it outlives its process, with all that
// was changed in it since it was brought up, until [Lab.Down]. That process may go on using it, and closes it as ever. What
// ends with the process nevertheless are its sockets and multicast routes; a program that it loaded goes on, but is not in the
// dump, which says so. If anything fails, the network is as it was.
func Keep(name string, running *topology.Running) (Lab, error) {
	if err := CheckName(name); err != nil {
		return Lab{}, err
	}
	return create(name, running.Network(), func(pin func(*topology.Running) error) error { return pin(running) })
}

// create writes a lab down and calls build, which gives pin the network once it runs.
func create(name string, network *topology.Network, build func(pin func(*topology.Running) error) error) (_ Lab, err error) {
	var nodes []string
	for _, node := range network.Nodes() {
		nodes = append(nodes, node.Name)
	}
	lock, err := begin(name, nodes)
	if err != nil {
		return Lab{}, err
	}
	// Last of all, so that nobody finds an unfinished lab that is only being taken down.
	defer lock.Close()
	var pinned []string // others that have such names are not ours to remove
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(name, pinned))
		}
	}()
	for _, node := range nodes {
		if _, err := os.Lstat(namespace(name, node)); err == nil {
			return Lab{}, fmt.Errorf("there is a namespace %s.%s already, which is no lab's: ip netns del %s.%s removes it", name, node,
				name, node)
		}
	}
	err = build(func(running *topology.Running) error {
		if err := registered(true, func() error { return sharedFolder(netnsFolder) }); err != nil {
			return err
		}
		for _, node := range network.Nodes() {
			if err := running.Pin(node, namespace(name, node.Name)); err != nil {
				return err
			}
			pinned = append(pinned, node.Name)
		}
		if err := writeDown(name, network); err != nil {
			return fmt.Errorf("write down lab %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return Lab{}, err
	}
	return Lab{Name: name, State: Complete, Nodes: nodes}, nil
}

// begin writes down that a lab is being built, and returns the lock, which is held until it is closed.
func begin(name string, nodes []string) (lock *os.File, err error) {
	err = registered(true, func() error {
		err := os.Mkdir(folder(name), 0o755)
		if errors.Is(err, os.ErrExist) {
			if err := look(name).usable(); err != nil {
				return err
			}
			return fmt.Errorf("lab %s is up already: waybill lab down %s takes it down", name, name)
		}
		if err != nil {
			return fmt.Errorf("write down lab %s: %w", name, err)
		}
		if lock, err = takeLock(name); err == nil {
			err = os.WriteFile(filepath.Join(folder(name), nodesFile), []byte(strings.Join(nodes, "\n")+"\n"), 0o644)
		}
		if err != nil {
			_ = lock.Close() // does nothing if there is none
			return errors.Join(fmt.Errorf("write down lab %s: %w", name, err), os.RemoveAll(folder(name)))
		}
		return nil
	})
	return lock, err
}

// takeLock takes the lock of a lab, while the registry is held. EWOULDBLOCK says that it is taken.
func takeLock(name string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(folder(name), lockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		_, err = lock.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// writeDown writes down what the lab is, and that it is complete.
func writeDown(name string, network *topology.Network) error {
	text, left, err := network.Standalone()
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name string
		text []byte
		mode os.FileMode
	}{
		{networkFile, text, 0o600}, // it may hold keys
		{leftFile, []byte(strings.Join(left, "\n")), 0o644},
		{completeFile, nil, 0o644},
	} {
		if err := os.WriteFile(filepath.Join(folder(name), file.name), file.text, file.mode); err != nil {
			return err
		}
	}
	return nil
}

// sharedFolder makes the folder of namespaces what ip netns makes of it: a mount of its own that tells other mount namespaces
// of what is mounted in it. Else ip netns would do it later, and hide what is there.
func sharedFolder(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make the folder of namespaces: %w", err)
	}
	err := unix.Mount("", path, "", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // no mount yet
		err = unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
		if err == nil {
			err = unix.Mount("", path, "", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return fmt.Errorf("make %s a shared mount: %w", path, err)
	}
	return nil
}

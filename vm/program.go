package vm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// sbinFolders are looked through after PATH: on Debian a user's PATH lacks them, and nft and ip live there.
var sbinFolders = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// findProgram finds an executable of the host by path or by name, and returns its absolute path.
func findProgram(name string) (string, error) {
	found, err := lookUp(name)
	if err != nil {
		return "", err
	}
	abs, err := filepath.Abs(found)
	if err != nil {
		return "", fmt.Errorf("find program %s: %w", name, err)
	}
	return abs, nil
}

// Installed tells whether this machine has a program, by path or by name.
func Installed(name string) bool {
	_, err := findProgram(name)
	return err == nil
}

func lookUp(name string) (string, error) {
	if strings.Contains(name, "/") {
		st, err := os.Stat(name)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return "", fmt.Errorf("program %s does not exist", name)
		case err != nil:
			return "", fmt.Errorf("find program: %w", err)
		case st.IsDir():
			return "", fmt.Errorf("program %s is a folder", name)
		case st.Mode()&0o111 == 0:
			return "", fmt.Errorf("program %s is not executable: run chmod +x on it", name)
		}
		return name, nil
	}
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range sbinFolders {
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("program %s is not installed: it is neither in PATH nor in %s", name,
		strings.Join(sbinFolders, ", "))
}

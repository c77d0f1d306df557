package harness

import (
	"fmt"
	"os"
	"testing"
)

// Main runs the tests of a package that has labs, and takes down at the end what they share. It is all that the package's TestMain
// needs to do:
//
//	func TestMain(m *testing.M) { harness.Main(m) }
//
// What cannot be taken down fails the run. Without Main the kernel takes everything down when the process has ended, and nobody
// is told.
func Main(m *testing.M) {
	status := m.Run()
	if err := Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

package kernel

import (
	"regexp"
	"testing"

	"github.com/go-quicktest/qt"
)

func literally(text string) string { return regexp.QuoteMeta(text) }

func TestParseList(t *testing.T) {
	got, err := ParseList("# a comment\n\n6.1 oldest bookworm linux-image-cloud-amd64 # another\n" +
		"6.18\t-\ttrixie-backports\tlinux-image-6.18.*-cloud-amd64")
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.DeepEquals(got, List{
		{"6.1", "oldest", "bookworm", "linux-image-cloud-amd64"},
		{"6.18", "-", "trixie-backports", "linux-image-6.18.*-cloud-amd64"},
	}))
	for text, want := range map[string]string{
		"\n6.1 oldest bookworm": "list of kernels, line 2: 3 words where name, role, suite and package belong",
		"../x - a b":            `list of kernels, line 1: "../x" cannot be a kernel's name`,
		"a - b c\na - b c":      "list of kernels, line 2: a is listed twice",
	} {
		_, err := ParseList(text)
		qt.Check(t, qt.ErrorMatches(err, literally(want)))
	}
}

func TestUnknownKernel(t *testing.T) {
	_, err := List{{Name: "6.1"}, {Name: "6.12"}}.Find("6.2")
	qt.Assert(t, qt.ErrorMatches(err, literally(`unknown kernel "6.2": known are 6.1, 6.12`)))
}

func TestCompareVersions(t *testing.T) {
	qt.Check(t, qt.IsTrue(compareVersions("linux-image-6.18.9+deb13-cloud-amd64", "linux-image-6.18.15+deb13-cloud-amd64") < 0))
	qt.Check(t, qt.IsTrue(compareVersions("a-7.10", "a-7.9.99") > 0))
	qt.Check(t, qt.Equals(compareVersions("a-7.1", "a-7.1"), 0))
}

func TestComplaint(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"W: a warning\nE: Unable to locate package x\nE: more\n": "Unable to locate package x",
		"dpkg-deb: error: 'x.deb' is no archive\nmore":           "dpkg-deb: error: 'x.deb' is no archive",
	} {
		qt.Check(t, qt.Equals(complaint(text), want))
	}
}

func TestPlace(t *testing.T) {
	for name, want := range map[string]string{
		"./boot/vmlinuz-6.12.95+deb12-cloud-amd64":       "vmlinuz",
		"./usr/lib/modules/7.2/vmlinuz":                  "vmlinuz",
		"./boot/config-6.12":                             "config",
		"./usr/lib/modules/7.2/config":                   "config",
		"./boot/System.map-6.12":                         "",
		"./usr/share/doc/linux-image/changelog.gz":       "",
		"./lib/modules/6.1/kernel/net/x.ko":              "lib/modules/6.1/kernel/net/x.ko",
		"./usr/lib/modules/6.12/kernel/net/x.ko.xz":      "lib/modules/6.12/kernel/net/x.ko.xz",
		"./usr/lib/modules/6.12/kernel/sound/x.ko.xz":    "",
		"./usr/lib/modules/../../../etc/passwd":          "",
		"./usr/lib/modules/6.12/modules.builtin":         "lib/modules/6.12/modules.builtin",
		"./lib/modules/6.1/kernel/drivers/gpu/drm/x.ko":  "",
		"./lib/modules/6.1/kernel/drivers/net/gputest.o": "lib/modules/6.1/kernel/drivers/net/gputest.o",
	} {
		qt.Check(t, qt.Equals(place(name), want), qt.Commentf("%s", name))
	}
}

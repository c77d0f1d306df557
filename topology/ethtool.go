package topology

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/nearest"
)

// The features of a device by ioctl (include/uapi/linux/ethtool.h): every kernel has it, while ethtool's netlink family is
// an option.
const (
	ethtoolGetStrings  = 0x1b
	ethtoolGetFeatures = 0x3a
	ethtoolSetFeatures = 0x3b
	ethtoolSetInfo     = 0x37 // ETHTOOL_GSSET_INFO
	featureStrings     = 4    // ETH_SS_FEATURES
	stringLength       = 32   // ETH_GSTRING_LEN
)

// setFeatures turns features of a device on and off, in the namespace of the calling thread. That one cannot be changed,
// or does not exist, is an error.
func setFeatures(device string, wanted map[string]bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket for features: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	names, err := featureNames(fd, device)
	if err != nil {
		return fmt.Errorf("read the names of features: %w", err)
	}
	blocks := (len(names) + 31) / 32
	// struct ethtool_sfeatures: cmd, size, then for each block what is valid, and what is requested.
	request := make([]uint32, 2+2*blocks)
	request[0], request[1] = ethtoolSetFeatures, uint32(blocks)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		bit := slices.Index(names, name)
		if bit < 0 {
			known := slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == "" })
			return fmt.Errorf("there is no feature %q%s", name, meant(name, known))
		}
		request[2+bit/32*2] |= 1 << (bit % 32)
		if wanted[name] {
			request[3+bit/32*2] |= 1 << (bit % 32)
		}
	}
	if err := ethtool(fd, device, unsafe.Pointer(&request[0])); err != nil {
		return fmt.Errorf("set features: %w", err)
	}
	active, err := readFeatures(fd, device, blocks, activeWord)
	if err != nil {
		return fmt.Errorf("read features: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		bit := slices.Index(names, name)
		if on := active[bit/32]&(1<<(bit%32)) != 0; on != wanted[name] {
			return fmt.Errorf("feature %s stays %s: this device, or another feature that it depends on, does not allow it",
				name, map[bool]string{true: "on", false: "off"}[on])
		}
	}
	return nil
}

// featureNames are the names of all features, by bit.
func featureNames(fd int, device string) ([]string, error) {
	// struct ethtool_sset_info: cmd, reserved, a mask of sets, and the length of each that the mask names.
	info := struct {
		cmd, reserved uint32
		mask          uint64
		length        uint32
		_             uint32
	}{cmd: ethtoolSetInfo, mask: 1 << featureStrings}
	if err := ethtool(fd, device, unsafe.Pointer(&info)); err != nil {
		return nil, err
	}
	// struct ethtool_gstrings: cmd, set, length, then the strings. Whole words, so that it is aligned.
	buffer := make([]uint32, 3+int(info.length)*stringLength/4)
	buffer[0], buffer[1], buffer[2] = ethtoolGetStrings, featureStrings, info.length
	if err := ethtool(fd, device, unsafe.Pointer(&buffer[0])); err != nil {
		return nil, err
	}
	text := unsafe.Slice((*byte)(unsafe.Pointer(&buffer[0])), len(buffer)*4)[12:]
	names := make([]string, info.length)
	for i := range names {
		name, _, _ := bytes.Cut(text[i*stringLength:(i+1)*stringLength], []byte{0})
		names[i] = string(name)
	}
	return names, nil
}

// The words of a struct ethtool_get_features_block.
const (
	requestedWord = 1
	activeWord    = 2
)

// readFeatures are bits of features: those that are on, or those that are wanted to be on.
func readFeatures(fd int, device string, blocks, word int) ([]uint32, error) {
	// struct ethtool_gfeatures: cmd, size, then for each block what is available, requested, active and never changed.
	buffer := make([]uint32, 2+4*blocks)
	buffer[0], buffer[1] = ethtoolGetFeatures, uint32(blocks)
	if err := ethtool(fd, device, unsafe.Pointer(&buffer[0])); err != nil {
		return nil, err
	}
	bits := make([]uint32, blocks)
	for i := range bits {
		bits[i] = buffer[2+4*i+word]
	}
	return bits, nil
}

// wantedFeatures tells of each feature whether a device in the namespace of the calling thread is wanted to have it, which
// others that it depends on may not allow.
func wantedFeatures(device string) (map[string]bool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket for features: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	names, err := featureNames(fd, device)
	if err != nil {
		return nil, fmt.Errorf("read the names of features: %w", err)
	}
	bits, err := readFeatures(fd, device, (len(names)+31)/32, requestedWord)
	if err != nil {
		return nil, fmt.Errorf("read features: %w", err)
	}
	wanted := make(map[string]bool)
	for bit, name := range names {
		if name != "" {
			wanted[name] = bits[bit/32]&(1<<(bit%32)) != 0
		}
	}
	return wanted, nil
}

// ethtool makes the ioctl for a device. The request is one of ethtool's structures.
func ethtool(fd int, device string, request unsafe.Pointer) error {
	if len(device) >= unix.IFNAMSIZ {
		return errors.New("the device's name is too long")
	}
	var ifreq struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(ifreq.name[:], device)
	ifreq.data = request
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq)))
	if errno != 0 {
		return errno
	}
	return nil
}

// meant is a hint at names close to one that does not exist; empty without any.
func meant(name string, known []string) string {
	if near := nearest.Names(name, slices.Values(known)); len(near) > 0 {
		return fmt.Sprintf("; did you mean %q?", near[0])
	}
	return ""
}

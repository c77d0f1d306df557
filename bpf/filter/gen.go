package filter

//go:generate go tool bpf2go -go-package filter -target amd64 -type subject -type filter_input -type filter_verdict -type filter_link -output-suffix _test -output-stem zz_kernel kernel testdata/kernel.bpf.c -- -O2 -g -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu

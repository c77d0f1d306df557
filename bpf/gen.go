package bpf

//go:generate go tool bpf2go -go-package bpf -target amd64 -type header -type event -type meta_event -type meta -type look -type told -type look_event -type look_record -type meta_flag -type nft_event -type drop_event -type record_kind -type section -type loss_cause -type losses -type part -type cookie -type frame -type work -type limit -type shaped_record -type place -type iptables_event -type stack -type symbol_args -type filter_kind -output-stem zz_tracker tracker c/tracker.bpf.c -- -O2 -g -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -go-package bpf -target amd64 -no-global-types -type code -output-stem zz_tracepoints tracepoints c/tracepoints.bpf.c -- -O2 -g -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/eventfile"
	"github.com/waybill-dev/waybill/journey"
)

// recording is what a file holds of packets.
type recording struct {
	path   string
	record *journey.Record
	// probes are what waybill collect was told to observe, sorted; nil if the file does not say.
	probes []string
}

// readRecording reads what tests leave (record-1.json), what waybill demo --json prints, or a file of waybill collect or Retis. That
// something is missing in it is no error, but in the record's evidence.
func readRecording(path string) (recording, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return recording{}, fmt.Errorf("read a recording: %w", err)
	}
	r := recording{path: path}
	var first map[string]json.RawMessage
	decoder := json.NewDecoder(bytes.NewReader(data))
	err = decoder.Decode(&first)
	has := func(name string) bool { _, ok := first[name]; return ok }
	switch {
	case errors.Is(err, io.EOF):
		return r, fmt.Errorf("%s is empty: give a record-1.json of a test, or a file of waybill collect", path)
	case errors.Is(err, io.ErrUnexpectedEOF):
		r.record = &journey.Record{Evidence: &journey.Evidence{Settled: true, Loss: []journey.Loss{{Cause: cutOff, Count: 1}}, Sealed: true}}
		return r, nil
	case err != nil, !has("journeys") && !has("branches") && !has("startup") && !has("common") && !has("waybill"):
		return r, fmt.Errorf("%s is no recording: give a record-1.json of a test, or a file of waybill collect", path)
	case has("journeys"), has("branches"):
		if len(bytes.TrimSpace(data[decoder.InputOffset():])) > 0 {
			return r, fmt.Errorf("%s has something behind the record: give a file as the test left it", path)
		}
		r.record, err = recordOf(data, has("journeys"))
		if err != nil {
			return r, fmt.Errorf("%s: %w", path, err)
		}
		return r, nil
	}
	return r, r.collect(data)
}

// cutOff is the loss of a file without an end.
const cutOff = "the file was cut off, and what followed is not known"

// recordOf reads a record, or a journey alone.
func recordOf(data []byte, whole bool) (*journey.Record, error) {
	record := new(journey.Record)
	if whole {
		if err := json.Unmarshal(data, record); err != nil {
			return nil, err
		}
		return record, nil
	}
	j := new(journey.Journey)
	if err := json.Unmarshal(data, j); err != nil {
		return nil, err
	}
	return &journey.Record{Journeys: []*journey.Journey{j}, Evidence: j.Evidence}, nil
}

// collect assembles the journeys of a file of events.
func (r *recording) collect(data []byte) error {
	assembler := journey.NewAssembler(0)
	evidence := journey.Evidence{Sealed: true, Settled: true}
	lost := func(cause string, count uint64) {
		evidence.Loss = append(evidence.Loss, journey.Loss{Cause: cause, Count: count})
	}
	ended, events := false, 0
	var bad uint64
	for item, err := range eventfile.Read(bytes.NewReader(data)) {
		switch {
		case err != nil:
			if _, ok := errors.AsType[*eventfile.LineError](err); !ok {
				return err
			}
			bad++
		case item.Observation != nil:
			assembler.Add(item.Observation)
			events++
		case item.Startup != nil:
			evidence.NoFunctions = item.Startup.NoFunctions
			if isOurs(item.Startup) {
				r.probes = probesOf(item.Startup.Command)
			}
		case item.End != nil:
			ended = true
			for _, l := range item.End.Loss {
				lost(l.Cause, l.Count)
			}
		}
	}
	if bad > 0 {
		lost("lines of the file make no sense", bad)
	}
	if !ended {
		lost("the file has no end, which tells what was lost", 1)
	}
	r.record = assembler.Seal(evidence)
	// Whoever collects stops when they like. What was on its way then is undetermined, each packet by itself.
	r.record.Evidence.Settled, r.record.Evidence.Moving = true, 0
	return nil
}

var probeFlag = regexp.MustCompile(`(?:^|\s)(?:-p|--probe)[\s=]?(\S+)`)

// probesOf are the probes that a command line of waybill collect asks for.
func probesOf(command string) []string {
	probes := []string{}
	for _, m := range probeFlag.FindAllStringSubmatch(command, -1) {
		probes = append(probes, strings.Trim(m[1], `'"`))
	}
	slices.Sort(probes)
	return slices.Compact(probes)
}

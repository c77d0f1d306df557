package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/waybill-dev/waybill/ci/report"
)

// write writes a report into its folder, and shows it.
func (c *command) write(r *report.Report) error {
	for name, write := range map[string]func(io.Writer) error{
		reportName: r.JSON, "report.md": r.Markdown, "junit.xml": r.JUnit,
	} {
		if err := toFile(filepath.Join(c.Report, name), os.O_TRUNC, write); err != nil {
			return err
		}
	}
	fmt.Println()
	if err := r.Table(os.Stdout); err != nil {
		return fmt.Errorf("show the report: %w", err)
	}
	fmt.Printf("The whole report: %s\n", filepath.Join(c.Report, "report.md"))
	if os.Getenv("GITHUB_ACTIONS") == "true" {
		if err := r.Annotations(os.Stdout); err != nil {
			return fmt.Errorf("annotate: %w", err)
		}
		if summary := os.Getenv("GITHUB_STEP_SUMMARY"); summary != "" {
			return toFile(summary, os.O_APPEND, r.Summary)
		}
	}
	return nil
}

func toFile(name string, flag int, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|flag, 0o644)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

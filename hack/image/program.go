package main

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// program is a Go program for one platform, with its build info.
type program struct {
	path     string
	name     string
	content  []byte
	info     *debug.BuildInfo
	platform v1.Platform
}

// readPrograms returns the programs, ordered by platform, if they can be one image.
func readPrograms(paths []string) ([]program, error) {
	programs := make([]program, 0, len(paths))
	for _, path := range paths {
		program, err := readProgram(path)
		if err != nil {
			return nil, err
		}
		programs = append(programs, program)
	}
	slices.SortFunc(programs, func(a, b program) int { return cmp.Compare(a.platform.String(), b.platform.String()) })
	for i := range programs[1:] {
		before, after := programs[i], programs[i+1]
		if before.name != after.name {
			return nil, fmt.Errorf("%s and %s have different names. An image starts the same program on every platform, so give all files the same name", before.path, after.path)
		}
		if before.platform.Equals(after.platform) {
			return nil, fmt.Errorf("%s and %s are both for %s. Give one program for each platform", before.path, after.path, after.platform)
		}
	}
	return programs, nil
}

func readProgram(path string) (program, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return program{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return program{}, fmt.Errorf("%s is not a Go program: %w", path, err)
	}
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	if settings["GOOS"] != "linux" {
		return program{}, fmt.Errorf("%s is for %s. Build it with GOOS=linux", path, settings["GOOS"])
	}
	if settings["CGO_ENABLED"] != "0" {
		return program{}, errors.New(path + " may need libraries that the image does not hold. Build it with CGO_ENABLED=0")
	}
	return program{
		path: path, name: filepath.Base(path), content: content, info: info,
		platform: v1.Platform{OS: settings["GOOS"], Architecture: settings["GOARCH"]},
	}, nil
}

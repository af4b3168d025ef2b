package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// writeSBOM writes the components of a program, as CycloneDX.
func (s settings) writeSBOM(path string, program program) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return cdx.NewBOMEncoder(file, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).Encode(s.materials(program))
}

// materials lists the program, the standard library and every module in the program, as its build info names them. The list has no
// dependencies between modules and no licenses, because the build info does not contain them.
func (s settings) materials(program program) *cdx.BOM {
	sum := sha256.Sum256(program.content)
	main := cdx.Component{
		BOMRef: program.info.Path, Type: cdx.ComponentTypeApplication,
		Name: s.labels(program)["org.opencontainers.image.title"], Version: s.version,
		PackageURL: packageURL(program.info.Main.Path, s.version),
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		Licenses:   &cdx.Licenses{{License: &cdx.License{ID: license}}},
		Properties: &[]cdx.Property{{Name: "platform", Value: program.platform.String()}},
	}
	libraries := []cdx.Component{library("stdlib", strings.TrimPrefix(program.info.GoVersion, "go"))}
	for _, module := range program.info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		libraries = append(libraries, moduleLibrary(module))
	}
	slices.SortFunc(libraries, func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })

	bom := cdx.NewBOM()
	// The same program has the same serial number.
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceURL, bytes.Join([][]byte{[]byte(source), sum[:]}, nil)).URN()
	bom.Metadata = &cdx.Metadata{
		Timestamp: s.time().Format(time.RFC3339),
		Component: &main,
		Tools:     &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "hack/image", Version: s.version}}},
	}
	bom.Components = &libraries
	return bom
}

// moduleLibrary has the hash of the module, as go.sum has it.
func moduleLibrary(module *debug.Module) cdx.Component {
	component := library(module.Path, module.Version)
	if module.Sum != "" {
		component.Properties = &[]cdx.Property{{Name: "go.sum", Value: module.Sum}}
	}
	return component
}

func library(path, version string) cdx.Component {
	url := packageURL(path, version)
	return cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: url}
}

// packageURL is the name by which scanners look for known vulnerabilities: https://github.com/package-url/purl-spec.
func packageURL(path, version string) string {
	url := "pkg:golang/" + path
	if version != "" {
		url += "@" + strings.ReplaceAll(version, "+", "%2B")
	}
	return url
}

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// product is what one project publishes for Linux. In its texts, {version} is a version such as v3.7.3, {number} is the same
// without the v, {arch} is Go's name of an architecture, {program} the name of a program, and {url} the address of the file.
type product struct {
	name      string // the first part of the names of its files of sums
	module    string // the Go module that pins its version; its programs are packages of that module
	url       string // of the file that holds a program
	member    string // the program's path in that file, a tar.gz; empty if the file is the program itself
	published string // the address of the publisher's own SHA-256 sums
}

var products = []product{
	{
		name:      "kubernetes",
		module:    "k8s.io/kubernetes",
		url:       "https://dl.k8s.io/{version}/bin/linux/{arch}/{program}",
		published: "{url}.sha256",
	},
	{
		name:      "etcd",
		module:    "go.etcd.io/etcd/server/v3",
		url:       "https://github.com/etcd-io/etcd/releases/download/{version}/etcd-{version}-linux-{arch}.tar.gz",
		member:    "etcd-{version}-linux-{arch}/{program}",
		published: "https://github.com/etcd-io/etcd/releases/download/{version}/SHA256SUMS",
	},
	{
		name:   "containerd",
		module: "github.com/containerd/containerd/v2",
		// The static programs run with any C library, as the ones that this module builds do.
		url:       "https://github.com/containerd/containerd/releases/download/{version}/containerd-static-{number}-linux-{arch}.tar.gz",
		member:    "bin/{program}",
		published: "{url}.sha256sum",
	},
}

// downloadable is a file of a release, and the programs to take from it.
type downloadable struct {
	product product
	version string
	arch    string
	url     string
	// members has the path of each program in the file. The path is empty if the file is the program itself.
	members map[string]string
}

// downloadables returns the files that hold the programs of a tier, in the order of the programs. The folder is test/infra/cluster.
func (t tier) downloadables(folder, arch string) ([]downloadable, error) {
	var files []downloadable
	for _, program := range t.programs {
		product, found := productOf(program)
		if !found {
			return nil, fmt.Errorf("no project is known that publishes %s", program.name)
		}
		version, err := pinnedVersion(filepath.Join(folder, program.module), product.module)
		if err != nil {
			return nil, err
		}
		fill := strings.NewReplacer("{version}", version, "{number}", strings.TrimPrefix(version, "v"), "{arch}", arch, "{program}", program.name)
		url := fill.Replace(product.url)
		i := slices.IndexFunc(files, func(file downloadable) bool { return file.url == url })
		if i < 0 {
			i = len(files)
			files = append(files, downloadable{product: product, version: version, arch: arch, url: url, members: map[string]string{}})
		}
		files[i].members[program.name] = fill.Replace(product.member)
	}
	return files, nil
}

func productOf(p program) (product, bool) {
	for _, product := range products {
		if p.mainPackage == product.module || strings.HasPrefix(p.mainPackage, product.module+"/") {
			return product, true
		}
	}
	return product{}, false
}

func pinnedVersion(folder, module string) (string, error) {
	content, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		return "", err
	}
	match := regexp.MustCompile(`(?m)^\s*(?:require\s+)?` + regexp.QuoteMeta(module) + ` (v\S+)`).FindSubmatch(content)
	if match == nil {
		return "", fmt.Errorf("%s/go.mod does not require %s", folder, module)
	}
	return string(match[1]), nil
}

// name is the last part of the file's address.
func (f downloadable) name() string { return f.url[strings.LastIndex(f.url, "/")+1:] }

// published returns the address of the publisher's sums for the file.
func (f downloadable) published() string {
	return strings.NewReplacer("{url}", f.url, "{version}", f.version).Replace(f.product.published)
}

// sumsFile returns the path, below test/infra/cluster, of the file that pins the sums of the product's version and architecture.
func (f downloadable) sumsFile() string {
	return filepath.Join("sums", fmt.Sprintf("%s-%s-linux-%s.txt", f.product.name, f.version, f.arch))
}

// sums maps the names of files to their SHA-256 sums, in lower-case hexadecimal digits.
type sums map[string]string

// pinnedSums reads the sums that the tree pins for the file's product, version and architecture. They are empty if it pins none.
func (f downloadable) pinnedSums(folder string) (sums, error) {
	content, err := os.ReadFile(filepath.Join(folder, f.sumsFile()))
	if errors.Is(err, fs.ErrNotExist) {
		return sums{}, nil
	}
	if err != nil {
		return nil, err
	}
	return parseSums(content, ""), nil
}

var sha256Sum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// parseSums reads lines of the form that the program sha256sum writes: a sum and the name of a file. A line with nothing but a sum
// is the sum of the file alone. Other lines are ignored.
func parseSums(content []byte, alone string) sums {
	read := sums{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || len(fields) > 2 || !sha256Sum.MatchString(strings.ToLower(fields[0])) {
			continue
		}
		name := alone
		if len(fields) == 2 {
			name = filepath.Base(strings.TrimPrefix(fields[1], "*"))
		}
		read[name] = strings.ToLower(fields[0])
	}
	return read
}

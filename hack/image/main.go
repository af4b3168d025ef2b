// Command image packs static Go programs into a container image, without a container engine:
//
//	go run -C hack/image . --name localhost/manager:test --output /tmp/manager.tar /tmp/amd64/manager /tmp/arm64/manager
//
// Each program is the same program for another architecture, which its build info names. Several programs give a multi-arch index, one
// program gives a plain image. An image holds only the program, starts it, and runs as an unprivileged user.
//
// The file is a tar archive of two formats that share their blobs:
//
//   - An OCI image layout, with all platforms. containerd reads it, and with it `ctr images import`, kind and k3d.
//   - An archive of `docker save`, with one platform. `docker load` reads it, unless Docker stores its images in containerd. `podman load`
//     also reads it. It holds the first platform in alphabetical order: linux/amd64 of linux/amd64 and linux/arm64. For a Docker on
//     another architecture, pack only the program for that architecture.
//
// The same programs and flags give the same file, on every machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// settings are the values of the flags.
type settings struct {
	name     string
	output   string
	push     bool
	sbom     bool
	title    string
	version  string
	revision string
	created  int64
	programs []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, s, os.Stdout)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&s.name, "name", "", "the `name` of the image, with its tag, such as localhost/manager:test")
	flags.StringVar(&s.output, "output", "", "the `file` to write; the digest goes into a file next to it that ends in .digest")
	flags.BoolVar(&s.push, "push", false, "push to the registry of the name, with the credentials of docker login")
	flags.BoolVar(&s.sbom, "sbom", false, "write a CycloneDX SBOM for each architecture next to the output")
	flags.StringVar(&s.title, "title", "", "the title in the labels; defaults to the name of the program")
	flags.StringVar(&s.version, "version", "", "the version in the labels and the SBOM")
	flags.StringVar(&s.revision, "revision", "", "the commit in the labels")
	flags.Int64Var(&s.created, "created", 0, "the creation time of the image, in Unix `seconds`: the time of its commit, so that the build is reproducible")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	s.programs = flags.Args()
	if s.name == "" || len(s.programs) == 0 || (s.output == "" && (s.sbom || !s.push)) {
		return s, errors.New("usage: image --name NAME [--push] [--output FILE [--sbom]] PROGRAM…; --help describes the flags")
	}
	return s, nil
}

// run builds the requested images and files, and prints what it built.
func run(ctx context.Context, s settings, stdout io.Writer) error {
	tag, err := name.NewTag(s.name, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	programs, err := readPrograms(s.programs)
	if err != nil {
		return err
	}
	images := make([]packed, 0, len(programs))
	for _, program := range programs {
		image, err := pack(program, s.labels(program))
		if err != nil {
			return fmt.Errorf("build the image of %s: %w", program.path, err)
		}
		images = append(images, packed{Image: image, program: program})
	}
	artifact, err := assemble(images, s.labels(programs[0]))
	if err != nil {
		return fmt.Errorf("combine the images of %s: %w", tag, err)
	}
	if s.output != "" {
		if err := s.write(tag, artifact, images); err != nil {
			return err
		}
	}
	if s.push {
		if err := remote.Push(tag, artifact, remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("push %s: %w. Check that you are logged in to the registry with docker login", tag, err)
		}
	}
	return report(stdout, tag, artifact, images)
}

// write writes the files: the archive, the digest that names it in a registry, and the SBOMs.
func (s settings) write(tag name.Tag, artifact remote.Taggable, images []packed) error {
	base := strings.TrimSuffix(s.output, ".tar")
	if err := writeArchive(s.output, tag, artifact, images[0], s.time()); err != nil {
		return fmt.Errorf("write %s: %w", s.output, err)
	}
	digest, err := digestOf(artifact)
	if err != nil {
		return err
	}
	if err := os.WriteFile(base+".digest", []byte(tag.Digest(digest.String()).Name()+"\n"), 0o644); err != nil {
		return err
	}
	if !s.sbom {
		return nil
	}
	for _, image := range images {
		platform := image.program.platform
		file := fmt.Sprintf("%s-%s-%s.cdx.json", base, platform.OS, platform.Architecture)
		if err := s.writeSBOM(file, image.program); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
	}
	return nil
}

// time is the creation time of the image and of all its files.
func (s settings) time() time.Time {
	return time.Unix(s.created, 0).UTC()
}

// labels are those of https://specs.opencontainers.org/image-spec/annotations/, for the image and, as annotations, for its manifests.
func (s settings) labels(program program) map[string]string {
	title := s.title
	if title == "" {
		title = program.name
	}
	labels := map[string]string{
		"org.opencontainers.image.title":    title,
		"org.opencontainers.image.source":   source,
		"org.opencontainers.image.licenses": license,
		"org.opencontainers.image.created":  s.time().Format(time.RFC3339),
	}
	for label, value := range map[string]string{"version": s.version, "revision": s.revision} {
		if value != "" {
			labels["org.opencontainers.image."+label] = value
		}
	}
	return labels
}

// report prints the digests and the contents of the images, which it reads from the images.
func report(stdout io.Writer, tag name.Tag, artifact remote.Taggable, images []packed) error {
	digest, err := digestOf(artifact)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s\n  %s\n", tag, digest)
	for _, image := range images {
		manifest, err := image.Manifest()
		if err != nil {
			return err
		}
		own, err := image.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s  %s  %s to pull, by %s\n", image.program.platform, own, megabytes(total(manifest)), image.program.info.GoVersion)
		files, err := contents(image)
		if err != nil {
			return err
		}
		for _, file := range files {
			fmt.Fprintf(stdout, "  %s %d:%d %s /%s\n", file.FileInfo().Mode(), file.Uid, file.Gid, megabytes(file.Size), strings.TrimPrefix(file.Name, "/"))
		}
	}
	return nil
}

// total is the number of bytes that a node pulls if it has no layer of the image yet.
func total(manifest *v1.Manifest) int64 {
	size := manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size
}

func megabytes(size int64) string {
	const million = 1e6
	return fmt.Sprintf("%.1f MB", float64(size)/million)
}

// Package release holds the tests of the files that a release publishes, as make release-files writes them: checksums, SBOMs, and that
// install.yaml, try.yaml and the chart install an operator that works. They run on a node of this machine, which has the images from the
// archives of the release and no registry. make release-dry-run runs them; without it they are skipped.
package release

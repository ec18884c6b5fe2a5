"""Where audio comes from: corpora made on the spot, folders of files, LibriSpeech. Each ends in fairseq manifests."""

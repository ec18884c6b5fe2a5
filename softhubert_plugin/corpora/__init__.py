"""Sources of audio: generated corpora, folders of files, LibriSpeech. Each source ends in fairseq manifests."""

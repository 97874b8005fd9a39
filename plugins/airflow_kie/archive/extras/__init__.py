"""What can be made of an archived song afterwards and stored in its folder: WAV, stems, MIDI, lyrics, a video."""

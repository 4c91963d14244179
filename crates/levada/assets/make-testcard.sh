#!/bin/sh
# Makes testcard.mp4, the clip of `levada demo`: moving test card, clock, frame counter, tone; 20 s, B-frames, groups of 1 s.
set -eu
cd "$(dirname "$0")"
font=$(fc-match -f '%{file}' 'monospace:bold')
draw="drawtext=fontfile=$font:fontcolor=white:fontsize=40:box=1:boxcolor=black@0.7:boxborderw=10"
ffmpeg -v error -y \
    -f lavfi -i "testsrc2=size=640x360:rate=25" \
    -f lavfi -i "sine=frequency=440:beep_factor=4:sample_rate=48000" \
    -filter_complex "[0:v]$draw:text='%{pts\:hms}':x=20:y=h-70,$draw:text='frame %{n}':x=w-tw-20:y=h-70[v]" \
    -map '[v]' -map 1:a -t 20 \
    -c:v libx264 -preset slow -profile:v main -pix_fmt yuv420p -g 25 -keyint_min 25 -sc_threshold 0 -bf 2 -crf 27 \
    -c:a aac -b:a 96k -ac 2 -movflags +faststart testcard.mp4

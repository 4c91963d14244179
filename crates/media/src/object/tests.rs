use proptest::prelude::*;

use super::*;

fn frame(track: u8, data: Vec<u8>, pts: i64, ahead: i64, keyframe: bool) -> Frame {
    Frame { track, pts, dts: pts - ahead, duration: 40, keyframe, discardable: false, data: data.into() }
}

proptest! {
    #[test]
    fn varints_read_back(value in 0..1_u64 << 62) {
        let mut bytes = BytesMut::new();
        put_varint(&mut bytes, value);
        let mut rest = &bytes[..];
        prop_assert_eq!(get_varint(&mut rest), Some(value));
        prop_assert!(rest.is_empty());
        prop_assert_eq!(get_varint(&mut &bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn frames_come_back_from_their_pieces(
        len in 0..100_000_usize, pts in -1_i64 << 40..1 << 40, ahead in 0..1_000_000_i64, keyframe: bool, index in 0..1_000_u32,
    ) {
        let data = (0..len).map(|n| n as u8).collect();
        let whole = frame(3, data, pts, ahead, keyframe);
        let mut assembler = Assembler::default();
        let mut found = None;
        for (n, object) in Object::split(&whole, Layer::Video, index).enumerate() {
            prop_assert_eq!(object.index, index + n as u32);
            prop_assert_eq!(Object::wire_len(object.wire()), Ok(Some(object.wire().len())));
            let parsed = Object::parse(object.wire().clone()).unwrap();
            prop_assert_eq!(&parsed, &object);
            prop_assert!(found.is_none(), "a frame is complete before its last piece");
            found = assembler.push(&parsed).unwrap();
        }
        prop_assert_eq!(found, Some(whole));
    }

    #[test]
    fn garbage_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Object::wire_len(&bytes);
        let _ = Object::parse(bytes.into());
    }
}

#[test]
fn pieces_of_two_tracks_may_interleave_and_a_hole_costs_its_frame_only() {
    let (a, b) = (frame(0, vec![1; 40_000], 0, 0, true), frame(1, vec![2; 40_000], 0, 0, true));
    let pieces = |frame, index| Object::split(frame, Layer::Video, index).collect::<Vec<_>>();
    let mut assembler = Assembler::default();
    // In index order, as cursors read; each frame's own pieces are consecutive.
    let mut frames: Vec<Frame> = Vec::new();
    for object in pieces(&a, 0).iter().chain(&pieces(&b, 3)) {
        frames.extend(assembler.push(object).unwrap());
    }
    assert_eq!(frames, [a.clone(), b.clone()]);
    let mut holed = pieces(&a, 6);
    holed.remove(1);
    let after = pieces(&b, 9);
    let rest: Vec<Frame> = holed.iter().chain(&after).filter_map(|object| assembler.push(object).unwrap()).collect();
    assert_eq!(rest, [b]);
}

#[test]
fn lengths_beyond_the_bound_are_refused_before_anything_is_read() {
    let mut bytes = BytesMut::new();
    put_varint(&mut bytes, MAX_BODY as u64 + 1);
    assert_eq!(Object::wire_len(&bytes), Err(ObjectError::TooLong(MAX_BODY as u64 + 1)));
}

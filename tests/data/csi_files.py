"""Capture files written byte by byte from the descriptions of their formats.

Nothing here uses the readers under test or the parser library. ``csi`` is always the truth: (T, P,
K) with link = transmitter * receivers + receiver and tones ascending.
"""

import struct

import numpy as np

MAC = bytes.fromhex("001122334455")


def whole_csi(seed, packets, links, tones, low, high):
    """Random Gaussian integers, (packets, links, tones) complex64, none zero."""
    rng = np.random.default_rng(seed)
    parts = rng.integers(low, high, (2, packets, links, tones), endpoint=True)
    parts[0][(parts == 0).all(0)] = 1
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def _bits(fields):
    """Whole numbers of given widths, low bits first, as bytes."""
    total = position = 0
    for value, width in fields:
        total |= (int(value) & ((1 << width) - 1)) << position
        position += width
    return total.to_bytes((position + 7) // 8, "little")


# --- Intel 5300 ---------------------------------------------------------------------------------


def intel_record(code, body):
    return struct.pack(">HB", len(body) + 1, code) + body


def intel_packet(channel, *, receivers, time=0, order=(0, 1, 2), wide=False, length=None):
    """One record of code 0xbb; ``channel`` is (P, 30)."""
    streams = len(channel) // receivers
    fields = []
    for k in range(30):
        fields.append((0, 3))
        for j in range(receivers):
            for s in range(streams):
                value = channel[s * receivers + order[j], k]
                fields += [(value.real, 8), (value.imag, 8)]
    payload = _bits(fields)
    payload += bytes((30 * (receivers * streams * 16 + 3) + 7) // 8 - len(payload))
    antennas = sum(antenna << 2 * j for j, antenna in enumerate(order))
    header = struct.pack("<IHH", time, 7, 0)
    header += bytes((receivers, streams, 30, 31, 32, 0x81, 40, antennas))
    size = len(payload) if length is None else length
    rate = 0x100 | (0x800 if wide else 0)
    return intel_record(0xBB, header + struct.pack("<HH", size, rate) + payload)


def intel_file(csi, *, receivers=3, step=1000, start=2**32 - 1500, **more):
    """A log with records of other kinds in between; the clock wraps."""
    parts = []
    for n, channel in enumerate(csi):
        time = (start + n * step) % 2**32
        parts += [intel_packet(channel, receivers=receivers, time=time, **more)]
        parts += [intel_record(0xC1, bytes(range(200)) * 10)]
    return b"".join(parts)


# --- Atheros ------------------------------------------------------------------------------------


def atheros_record(
    channel, *, receivers, time, order="<", mhz=5240, error=0, width=None, tones=None
):
    """One record; ``channel`` is (P, K) or None for a packet without CSI."""
    content = b"content!"
    data, count, transmitters = b"", 56, 0
    if channel is not None:
        transmitters, count = len(channel) // receivers, channel.shape[1]
        links = [(t, r) for t in range(transmitters) for r in range(receivers)]
        data = _bits(
            (part, 10)
            for k in range(count)
            for t, r in links
            for part in (channel[t * receivers + r, k].imag, channel[t * receivers + r, k].real)
        )
    width = (1 if count == 114 else 0) if width is None else width
    body = struct.pack(f"{order}QHH", time, len(data), mhz)
    body += bytes((error, 0, 0x8F, width, count if tones is None else tones, receivers))
    body += bytes((transmitters, 40, 39, 38, 37))
    body += struct.pack(f"{order}H", len(content)) + data + content
    return struct.pack(f"{order}H", len(body)) + body


def atheros_file(csi, *, receivers=3, step=2000, order="<", marked=False, **more):
    records = [
        atheros_record(c, receivers=receivers, time=10**9 + n * step, order=order, **more)
        for n, c in enumerate(csi)
    ]
    mark = (b"\xff" if order == ">" else b"\x00") if marked else b""
    return mark + b"".join(records)


# --- nexmon -------------------------------------------------------------------------------------


def nexmon_int16(values):
    """Values in the order of a Fourier transform, interleaved."""
    parts = np.stack([values.real, values.imag], -1).astype("<i2")
    return parts.tobytes()


def nexmon_float(mantissa, exponent, *, bits, exponent_bits):
    """Sign and ``bits - 1`` bits of magnitude for real and imaginary part, then the exponent."""

    def part(value):
        return (int(value < 0) << (bits - 1)) | abs(int(value))

    words = [
        part(m.real) << (exponent_bits + bits)
        | part(m.imag) << exponent_bits
        | (int(e) & ((1 << exponent_bits) - 1))
        for m, e in zip(mantissa, exponent, strict=True)
    ]
    return struct.pack(f"<{len(words)}I", *words)


def nexmon_packet(
    data, *, frame=1, core=0, stream=0, channel=0xE02A, chip=0x65, mac=MAC, old=True, port=5500
):
    """Ethernet, IP and UDP headers, that of the tool, and the data."""
    content = (b"\x11" * 4 if old else b"\x11\x11\xc4\x88") + mac
    content += struct.pack("<4H", frame, core | stream << 3, channel, chip) + data
    udp = struct.pack(">4H", 5500, port, 8 + len(content), 0) + content
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 1, 17, 0, b"\n" * 4, b"\xff" * 4
    )
    return b"\xff" * 6 + b"NEXMON" + b"\x08\x00" + ip + udp


def pcap(packets, *, order="<", nano=False, link=1, step_us=10_000):
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    parts = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)]
    for n, packet in enumerate(packets):
        seconds, rest = divmod(1_600_000_000_980_000 + n * step_us, 10**6)
        fraction = rest * 1000 if nano else rest
        header = struct.pack(f"{order}4I", seconds, fraction, len(packet), len(packet))
        parts.append(header + packet)
    return b"".join(parts)


def nexmon_file(csi, *, cores=1, chip=0x65, order="<", nano=False, **more):
    """16-bit capture of (T, P, K); links are streams x cores, each a packet of its own."""
    width = {64: 0x1000, 128: 0x1800, 256: 0x2000}[csi.shape[2]]
    packets = [
        nexmon_packet(
            nexmon_int16(np.fft.ifftshift(channel)),
            frame=n,
            core=link % cores,
            stream=link // cores,
            chip=chip,
            channel=0xC000 | width | 42,
            **more,
        )
        for n, frame in enumerate(csi)
        for link, channel in enumerate(frame)
    ]
    return pcap(packets, order=order, nano=nano)


# --- ESP32 --------------------------------------------------------------------------------------

ESP32_HEADER = (
    "type,role,mac,rssi,rate,sig_mode,mcs,bandwidth,smoothing,not_sounding,aggregation,stbc,"
    "fec_coding,sgi,noise_floor,ampdu_cnt,channel,secondary_channel,local_timestamp,ant,sig_len,"
    "rx_state,real_time_set,real_timestamp,len,CSI_DATA\n"
)


def esp32_line(
    channel, *, time, second=0, mac="3C:71:BF:6D:2A:78", number=6, unsigned=False, tail=0
):
    """One line; ``channel`` is (64,), ascending; ``tail`` bytes of an 802.11n field follow."""
    stored = channel if second else np.fft.ifftshift(channel)
    values = np.stack([stored.imag, stored.real], -1).astype(int).ravel().tolist() + [5] * tail
    if unsigned:
        values = [v % 256 for v in values]
    numbers = "".join(f"{v} " for v in values)
    return (
        f"CSI_DATA,AP,{mac},-73,11,1,0,1,1,1,1,0,0,0,-93,0,{number},{second},{time},0,101,0,0,"
        f"80.363225,{len(values)},[{numbers}]\n"
    )


def esp32_file(csi, *, step=10000, start=2**32 - 15000, **more):
    lines = [esp32_line(c[0], time=(start + n * step) % 2**32, **more) for n, c in enumerate(csi)]
    return (ESP32_HEADER + "I (352) wifi: started\n".join(lines)).encode()


# --- WiMANS -------------------------------------------------------------------------------------

WIMANS_HEADER = ["#", "label", "environment", "wifi_band", "number_of_users"] + [
    f"user_{i}_{kind}" for kind in ("location", "activity") for i in range(1, 7)
]


def wimans_row(
    number, label, place, activity, *, user=1, environment="classroom", band="5", users=1
):
    places, activities = [""] * 6, [""] * 6
    for i in range(users):
        places[(user - 1 + i) % 6], activities[(user - 1 + i) % 6] = place, activity
    return [str(number), label, environment, band, str(users), *places, *activities]


def write_annotation(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(row) for row in [WIMANS_HEADER, *rows]]
    (folder / "annotation.csv").write_text("\n".join(lines) + "\n")


def write_wimans_mat(path, csi, *, rate=0x1101):
    """Cells of structures as MATLAB saves them; ``csi`` is (T, 9, 30)."""
    from scipy.io import savemat

    trace = np.empty((len(csi), 1), object)
    for t, packet in enumerate(csi):
        trace[t, 0] = {
            "timestamp_low": float(t * 1000),
            "bfee_count": float(t),
            "Nrx": 3.0,
            "Ntx": 3.0,
            "perm": np.array([[1.0, 2.0, 3.0]]),
            "rate": float(rate),
            "csi": packet.reshape(3, 3, 30).astype(np.complex128),
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"trace": trace})


def write_wimans_amp(path, amplitude, *, padding=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    found = np.zeros((padding + len(amplitude), 3, 3, 30), np.float32)
    found[padding:] = amplitude.reshape(-1, 3, 3, 30)
    np.save(path, found)

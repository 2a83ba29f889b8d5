using System.Buffers.Binary;
using Vmsweep.Signatures.Archives.Decoders;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>Files packed by COMPRESS.EXE: LZSS with a window of 4 KiB of spaces. Spec: "SZDD file format", after the programs EXPAND and LZEXPAND.</summary>
internal sealed class SzddFormat : PackedFormat
{
    private const int HeaderBytes = 14;

    public override string Name => "szdd";

    public override IReadOnlyList<FileType> Types { get; } = [FileTypes.Szdd];

    /// <summary>There is one method, named by the byte behind the magic number.</summary>
    public override bool Fits(ReadOnlySpan<byte> content) => content.Length > HeaderBytes && FileTypes.Szdd.Fits(content) && content[8] == 'A';

    protected override Stream Open(ReadOnlyMemory<byte> content, IMemberSink sink) =>
        new CheckedStream(new SzddStream(content[HeaderBytes..]), "szdd", BinaryPrimitives.ReadUInt32LittleEndian(content.Span[10..]), null);

    private sealed class SzddStream : UnpackStream
    {
        private const int WindowBytes = 4096;
        private const int BatchBytes = 16 << 10;

        private readonly ReadOnlyMemory<byte> _input;
        private readonly byte[] _window = new byte[WindowBytes];
        private int _position = WindowBytes - 16;
        private int _at;

        public SzddStream(ReadOnlyMemory<byte> input)
        {
            _input = input;
            Buffer = new byte[BatchBytes + (8 * 18)];
            Array.Fill(_window, (byte)' ');
        }

        protected override bool Fill()
        {
            Start = End = 0;
            ReadOnlySpan<byte> input = _input.Span;
            while (End < BatchBytes)
            {
                if (_at >= input.Length)
                {
                    return false;
                }

                int flags = input[_at++];
                for (int bit = 0; bit < 8 && _at < input.Length; bit++)
                {
                    if ((flags >> bit & 1) != 0)
                    {
                        Put(input[_at++]);
                        continue;
                    }

                    if (_at + 2 > input.Length)
                    {
                        _at = input.Length;
                        break;
                    }

                    int from = input[_at] | ((input[_at + 1] & 0xF0) << 4);
                    int length = (input[_at + 1] & 15) + 3;
                    _at += 2;
                    for (int i = 0; i < length; i++)
                    {
                        Put(_window[(from + i) % WindowBytes]);
                    }
                }
            }

            return true;
        }

        private void Put(byte value)
        {
            Buffer[End++] = value;
            _window[_position] = value;
            _position = (_position + 1) % WindowBytes;
        }
    }
}

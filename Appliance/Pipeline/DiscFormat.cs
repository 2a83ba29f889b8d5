using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Iso9660;
using Vmsweep.DiskReaders.FileSystems.Udf;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Images of discs, ISO 9660 and UDF, inside of guests: read by the readers of disks, handed on as archives are.</summary>
internal sealed class DiscFormat : IArchiveFormat
{
    private const int DescriptorAt = 0x8000;

    /// <summary>What the file system may hold beside its files.</summary>
    private const int MetadataBytes = 32 << 20;

    private static readonly IFileSystemFormat[] Formats = [new UdfFormat(), new Iso9660Format()];

    public string Name => "disc image";

    public bool Fits(ReadOnlySpan<byte> content) =>
        content.Length > DescriptorAt + 2048 && content.Slice(DescriptorAt + 1, 5) is var id && (id.SequenceEqual("CD001"u8) || id.SequenceEqual("BEA01"u8));

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        using IDisposable memory = sink.Reserve(MetadataBytes, "disc image");
        var source = new MemorySource(content);
        var budget = new ScanBudget(MetadataBytes);
        var context = new ReadContext(budget, new SinkGaps(sink)) { OnStep = sink.Tick };
        try
        {
            if (Formats.FirstOrDefault(f => f.Probe(source)) is not { } format)
            {
                throw new ArchiveException(ArchiveFault.Corrupt, "disc image", DescriptorAt, "it has no file system that is read");
            }

            using IFileSystem disc = format.Open(source, context);
            foreach (GuestFile file in disc.Walk())
            {
                sink.Tick();
                if (file.Kind == GuestFileKind.Regular)
                {
                    sink.Packed(GuestName.Escape(file.Links[0].Path(file.StreamName), controls: false), file.SizeBytes, () => new SourceStream(Open(disc, file)));
                }
            }
        }
        catch (DiskFormatException e)
        {
            throw ArchiveFaultOf(e);
        }
    }

    private static IBlockSource Open(IFileSystem disc, GuestFile file)
    {
        try
        {
            return file.Fault is { } fault ? throw fault : disc.OpenContent(file);
        }
        catch (DiskFormatException e)
        {
            throw ArchiveFaultOf(e);
        }
    }

    private static ArchiveException ArchiveFaultOf(DiskFormatException e) => new(FaultOf(e.Fault), e.Structure, e.Offset, e.Detail);

    private static ArchiveFault FaultOf(Fault fault) => fault switch
    {
        Fault.Truncated => ArchiveFault.Truncated,
        Fault.Unsupported or Fault.Refused or Fault.MissingParent => ArchiveFault.Unsupported,
        Fault.Encrypted => ArchiveFault.Encrypted,
        Fault.Limit => ArchiveFault.Limit,
        Fault.Timeout => ArchiveFault.Timeout,
        _ => ArchiveFault.Corrupt,
    };

    private sealed class SinkGaps(IMemberSink sink) : IGapSink
    {
        public void Add(CoverageGap gap) => sink.Gap(FaultOf(gap.Fault), gap.Structure, gap.Offset, gap.Bytes, gap.Detail, gap.Path.Length > 0 ? gap.Path : null);
    }

    private sealed class SourceStream(IBlockSource source) : Stream
    {
        private long _at;

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override int Read(Span<byte> buffer)
        {
            int count = (int)Math.Min(buffer.Length, source.Length - _at);
            try
            {
                source.Read(_at, buffer[..count]);
            }
            catch (DiskFormatException e)
            {
                throw ArchiveFaultOf(e);
            }

            _at += count;
            return count;
        }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            source.Dispose();
            base.Dispose(disposing);
        }
    }
}

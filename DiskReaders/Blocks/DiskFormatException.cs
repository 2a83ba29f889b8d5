namespace Vmsweep.DiskReaders.Blocks;

/// <summary>The only exception a reader throws for content: what is wrong, in which structure, where, and how.</summary>
public sealed class DiskFormatException : Exception
{
    /// <param name="fault">The kind of fault.</param>
    /// <param name="structure">The specification's name of the structure, such as <c>VHDX Header</c>.</param>
    /// <param name="offset">Byte offset of the structure or field in the source that was parsed; -1 when not known.</param>
    /// <param name="detail">What was expected or found. May hold guest text: escape it where it is shown.</param>
    public DiskFormatException(Fault fault, string structure, long offset, string detail)
        : base($"{structure} at {offset}: {detail}")
    {
        Fault = fault;
        Structure = structure;
        Offset = offset;
        Detail = detail;
    }

    public Fault Fault { get; }

    public string Structure { get; }

    public long Offset { get; }

    public string Detail { get; }
}

namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Why bytes could not be read or were not scanned. The report's <c>fault</c> is this value in kebab case.</summary>
public enum Fault
{
    /// <summary>A structure contradicts its specification.</summary>
    Corrupt,

    /// <summary>The image or a structure ends before the bytes it declares.</summary>
    Truncated,

    /// <summary>A known structure or feature that this product does not read.</summary>
    Unsupported,

    /// <summary>The bytes are encrypted and no key was given.</summary>
    Encrypted,

    /// <summary>A named limit of size, depth, count or ratio was reached.</summary>
    Limit,

    /// <summary>A time limit was reached.</summary>
    Timeout,

    /// <summary>The storage below failed to deliver.</summary>
    Transport,

    /// <summary>A backing image or extent is missing or is not the one the image was made over.</summary>
    MissingParent,

    /// <summary>The image asked for something that is never done, such as opening a file outside the VM's folder.</summary>
    Refused,
}

namespace Vmsweep.Signatures.Hashes;

/// <summary>A line of a hash list that was left out, or a whole list.</summary>
/// <param name="Line">From 1; 0 when the file as a whole is meant.</param>
public sealed record HashFault(string File, int Line, string Message)
{
    public override string ToString() => $"{File}({Line}): {Message}";
}

/// <summary>A compiled hash set that cannot be used, with the reason.</summary>
public sealed class HashSetException(string message) : IOException(message);

namespace Vmsweep.Signatures.Bundles;

/// <summary>A bundle, a key or the store of bundles cannot be used as it is. The message is for the operator and says where and why.</summary>
public sealed class BundleException : Exception
{
    public BundleException()
    {
    }

    public BundleException(string message)
        : base(message)
    {
    }

    public BundleException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <param name="where">The file, and the part or line inside it.</param>
    public BundleException(string where, string detail)
        : base($"{where}: {detail}")
    {
    }
}

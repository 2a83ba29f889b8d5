using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmsweep.Signatures.Yara;

/// <summary>What the compiler said about a text, with the line inside that text.</summary>
internal readonly record struct CompilerMessage(int Line, string Message, bool IsWarning);

/// <summary>A <c>YR_COMPILER</c>. After its first error it is of no further use.</summary>
internal sealed unsafe class NativeCompiler : IDisposable
{
    private readonly List<CompilerMessage> _messages = [];
    private GCHandle _self;
    private nint _compiler;

    public NativeCompiler()
    {
        LibYara.Check(LibYara.CompilerCreate(out _compiler), "yr_compiler_create");
        _self = GCHandle.Alloc(this);
        LibYara.CompilerSetCallback(_compiler, &Say, GCHandle.ToIntPtr(_self));
        // Includes are resolved by RuleSources, within limits; libyara itself opens no file.
        LibYara.CompilerSetIncludeCallback(_compiler, 0, 0, 0);
    }

    /// <summary>What was said since this list was cleared.</summary>
    public List<CompilerMessage> Messages => _messages;

    /// <summary>Compiles one text that must be right.</summary>
    public static NativeRules CompileOne(ReadOnlySpan<byte> text, ReadOnlySpan<byte> ns)
    {
        using var compiler = new NativeCompiler();
        return compiler.Add([.. text, 0], [.. ns, 0]) ? compiler.Finish() : throw new YaraException(compiler.Messages[^1].Message);
    }

    /// <summary>Declares an external variable of type string.</summary>
    public void Define(ReadOnlySpan<byte> identifierZ)
    {
        byte empty = 0;
        fixed (byte* name = identifierZ)
        {
            LibYara.Check(LibYara.CompilerDefineString(_compiler, name, &empty), "yr_compiler_define_string_variable");
        }
    }

    /// <summary>Adds a text, ended by a zero byte, to a namespace; false when it does not compile.</summary>
    public bool Add(ReadOnlySpan<byte> textZ, ReadOnlySpan<byte> namespaceZ)
    {
        fixed (byte* text = textZ, ns = namespaceZ)
        {
            return LibYara.CompilerAddString(_compiler, text, ns) == 0;
        }
    }

    public NativeRules Finish()
    {
        LibYara.Check(LibYara.CompilerGetRules(_compiler, out nint rules), "yr_compiler_get_rules");
        return new NativeRules(rules);
    }

    public void Dispose()
    {
        if (_compiler != 0)
        {
            LibYara.CompilerDestroy(_compiler);
            _compiler = 0;
            _self.Free();
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Say(int level, byte* file, int line, byte* rule, byte* message, nint userData)
    {
        try
        {
            var compiler = (NativeCompiler)GCHandle.FromIntPtr(userData).Target!;
            compiler._messages.Add(new CompilerMessage(line, YrLayout.Text(message), level != LibYara.ErrorLevelError));
        }
        catch (OutOfMemoryException)
        {
            // No exception may cross libyara; the result of the call still tells of the error.
        }
    }
}
